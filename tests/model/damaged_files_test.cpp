// What open_model says about files that are cut, flipped or lie: one sentence with the file's name,
// never a crash.
#include <doctest/doctest.h>

#include <random>

#include "model/files/model_files.h"
#include "tests/model/model_test_files.h"

using namespace troupe;
using namespace troupe::test;

namespace damaged_files_test {
namespace {

constexpr uint64_t kSeed = 20240817;

/// Opens it and, if it opens, reads all of its weights; returns the message or "".
std::string try_open(const std::string& path) {
  const auto model = open_model(path);
  if (!model) return model.error().message;
  for (int32_t layer = -1; layer < model->bundle.spec.n_layers; ++layer)
    for (int kind = 0; kind <= static_cast<int>(TensorKind::down_bias); ++kind)
      floats_of(*model->weights, {static_cast<TensorKind>(kind), layer});
  return "";
}

/// One sentence: begins with the path, ends with a full stop, has no line break.
void check_sentence(const std::string& message, const std::string& path) {
  CHECK_MESSAGE(message.starts_with(path), message);
  CHECK_MESSAGE(message.ends_with("."), message);
  CHECK_MESSAGE(message.find('\n') == std::string::npos, message);
}

void copy_model(const std::string& name, const Scratch& to) {
  for (const auto& file : std::filesystem::directory_iterator(tiny(name)))
    if (file.path().extension() != ".bin" && file.path().extension() != ".gguf")
      write_all(to / file.path().filename().string(), read_all(file.path().string()));
}

/// Replaces the first `from` in a file of the folder.
void edit(const Scratch& scratch, const std::string& file, const std::string& from,
          const std::string& to) {
  std::string text = read_all(scratch / file);
  const size_t at = text.find(from);
  REQUIRE_MESSAGE(at != std::string::npos, from);
  write_all(scratch / file, text.replace(at, from.size(), to));
}

}  // namespace

TEST_CASE("open_model: a GGUF file cut at any length is refused with its name") {
  const Scratch scratch;
  const std::string path = scratch / "cut.gguf", bytes = read_all(tiny("llama3/llama3-q4_0.gguf"));
  write_all(path, bytes);
  REQUIRE(try_open(path).empty());
  // The writer pads the last tensor to 32 bytes; a cut inside the padding loses nothing.
  size_t opened = 0;
  for (size_t size = bytes.size(); size-- > 0;) {
    std::filesystem::resize_file(path, size);
    const std::string message = try_open(path);
    if (message.empty())
      ++opened;
    else if (!message.starts_with(path) || !message.ends_with("."))
      FAIL_CHECK("cut at " << size << ": " << message);
  }
  CHECK(opened < 32);
}

TEST_CASE("open_model: a GGUF file with a flipped bit is opened or refused, never a crash") {
  MESSAGE("seed " << kSeed);
  std::mt19937_64 random(kSeed);
  const Scratch scratch;
  const std::string path = scratch / "flip.gguf", bytes = read_all(tiny("llama3/llama3-q4_0.gguf"));
  const size_t metadata =
      bytes.find("token_embd.weight") + 2'000;  // flips in weights are never seen
  size_t refused = 0;
  for (int i = 0; i < 2'000; ++i) {
    std::string flipped = bytes;
    const size_t at = random() % (i % 4 == 0 ? bytes.size() : metadata);
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << random() % 8));
    write_all(path, flipped);
    const std::string message = try_open(path);
    if (message.empty()) continue;
    ++refused;
    check_sentence(message, path);
  }
  CHECK(refused > 200);
}

TEST_CASE("open_model: a safetensors file cut at any length is refused with its name") {
  MESSAGE("seed " << kSeed);
  std::mt19937_64 random(kSeed);
  const Scratch scratch;
  copy_model("llama3", scratch);
  const std::string path = scratch / "model.safetensors", bytes = read_all(path);
  for (int i = 0; i < 500; ++i) {
    const size_t size = i < 200 ? static_cast<size_t>(i) : random() % bytes.size();
    write_all(path, bytes.substr(0, size));
    const std::string message = try_open(scratch.path());
    CHECK_FALSE(message.empty());
    check_sentence(message, path);
  }
}

TEST_CASE("open_model: a directory with a flipped bit is opened or refused, never a crash") {
  MESSAGE("seed " << kSeed);
  std::mt19937_64 random(kSeed);
  const Scratch scratch;
  copy_model("mistral", scratch);
  const std::string files[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                               "model.safetensors.index.json", "model-00002-of-00003.safetensors"};
  size_t refused = 0;
  for (int i = 0; i < 2'000; ++i) {
    const std::string& name = files[static_cast<size_t>(i) % std::size(files)];
    const std::string bytes = read_all(scratch / name);
    std::string flipped = bytes;
    const size_t at = random() % std::min<size_t>(bytes.size(), 2'000);
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << random() % 8));
    write_all(scratch / name, flipped);
    const std::string message = try_open(scratch.path());
    if (!message.empty()) {
      ++refused;
      check_sentence(message, scratch.path());
    }
    write_all(scratch / name, bytes);
  }
  CHECK(refused > 500);
}

TEST_CASE("open_model: what is missing or no file is named") {
  const Scratch scratch;
  CHECK(open_model(scratch / "no.gguf").error().code == ErrorCode::not_found);
  check_sentence(open_model(scratch / "no.gguf").error().message, scratch / "no.gguf");
  const auto empty_directory = open_model(scratch.path());
  CHECK(empty_directory.error().code == ErrorCode::not_found);
  check_sentence(empty_directory.error().message, scratch / "config.json");
  write_all(scratch / "empty.gguf", "");
  CHECK(open_model(scratch / "empty.gguf").error().message.find("empty") != std::string::npos);
  CHECK(open_model("/dev/null").error().message.find("not a regular file") != std::string::npos);
  write_all(scratch / "page.gguf", "<html>404</html>");
  CHECK(open_model(scratch / "page.gguf").error().message.find("not a GGUF file") !=
        std::string::npos);
}

TEST_CASE("open_model: a directory whose files disagree is refused with the reason") {
  struct Case {
    const char* model;
    const char* file;
    const char* from;
    const char* to;
    const char* expected;
  };
  const Case cases[] = {
      {"mistral", "model.safetensors.index.json", "model-00002-of-00003", "../../../etc/passwd",
       "not a .safetensors file of this directory"},
      {"mistral", "model.safetensors.index.json", "model-00002-of-00003", "model-00009-of-00003",
       "model-00009-of-00003.safetensors: cannot open"},
      {"mistral", "model.safetensors.index.json", "weight_map", "weight_nap", "no 'weight_map'"},
      {"llama3", "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
       "'model.layers.2.input_layernorm.weight' is missing"},
      {"llama3", "config.json", "\"intermediate_size\": 64", "\"intermediate_size\": 65",
       "the model's parameters ask for 65 x 32"},
      {"llama3", "config.json", "\"vocab_size\": 288", "\"vocab_size\": 200", "the shape 288 x 32"},
      {"llama3", "config.json", "\"model_type\": \"llama\"", "\"model_type\": \"gpt2\"",
       "model type 'gpt2' is not supported"},
      {"llama3", "config.json", "\"rope_type\": \"llama3\"", "\"rope_type\": \"yarn\"",
       "RoPE scaling 'yarn' is not supported"},
      {"llama3", "config.json", "\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"",
       "hidden_act 'gelu' is not supported"},
      {"llama3", "config.json", "\"hidden_size\": 32", "\"hidden_size\": 3.5",
       "'hidden_size' is not a number"},
      {"llama3", "config.json", "\"hidden_size\": 32", "\"hidden_sizes\": 32",
       "'hidden_size' is missing"},
      {"llama3", "config.json", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3",
       "n_kv_heads"},
      {"llama3", "config.json", "\"attention_bias\": false", "\"attention_bias\": 1",
       "'attention_bias' is neither"},
      {"llama3", "config.json", "\"attention_bias\": false", "\"quantization_config\": {}",
       "quantised checkpoint"},
      {"llama3", "tokenizer.json", "\"type\": \"BPE\"", "\"type\": \"Unigram\"",
       "model type 'Unigram'"},
      {"llama3", "tokenizer.json", "\"Isolated\"", "\"MergedWithNext\"",
       "behavior 'MergedWithNext'"},
      {"llama3", "tokenizer.json", "\"add_prefix_space\": false", "\"add_prefix_space\": true",
       "add_prefix_space"},
      {"qwen3", "tokenizer.json", "\"type\": \"NFC\"", "\"type\": \"Lowercase\"",
       "normalizer 'Lowercase'"},
      {"llama2", "tokenizer.json", "\"<0x01>\": 4", "\"<0x01>\": 5", "belongs to two tokens"},
      {"llama2", "tokenizer.json", "\"<0x01>\": 4", "\"<0x01>\": 2000000", "impossible id"},
      {"llama2", "tokenizer.json", "\"unk_token\": \"<unk>\"", "\"unk_token\": \"<nuk>\"",
       "unk_token '<nuk>'"},
      {"smollm2", "config.json", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false",
       "'lm_head.weight' is missing"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.to);
    const Scratch scratch;
    copy_model(c.model, scratch);
    edit(scratch, c.file, c.from, c.to);
    const std::string message = try_open(scratch.path());
    check_sentence(message, scratch.path());
    CHECK_MESSAGE(message.find(c.expected) != std::string::npos, message);
  }
}

}  // namespace damaged_files_test
