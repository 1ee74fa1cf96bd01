// open_model on the tiny checkpoints that PyPI transformers and gguf wrote.
#include <doctest/doctest.h>
#include <simdjson.h>

#include "model/files/model_files.h"
#include "model/tokenizer.h"
#include "tests/model/model_test_files.h"

using namespace troupe;
using namespace troupe::test;

namespace tiny_models_test {
namespace {

OpenedModel open_tiny(const std::string& name) {
  auto model = open_model(tiny(name));
  REQUIRE_MESSAGE(model.has_value(), (model ? "" : model.error().message));
  return std::move(*model);
}

/// Rows of each head from neighbours (2i, 2i+1) to halves (i, i + dim/2).
std::vector<float> to_halves(const std::vector<float>& rows, size_t heads, size_t cols) {
  const size_t dim = rows.size() / cols / heads;
  std::vector<float> out(rows.size());
  for (size_t head = 0; head < heads; ++head)
    for (size_t i = 0; i < dim; ++i) {
      const size_t from = head * dim + i, to = head * dim + i / 2 + (i % 2) * dim / 2;
      std::copy_n(rows.begin() + static_cast<ptrdiff_t>(from * cols), cols,
                  out.begin() + static_cast<ptrdiff_t>(to * cols));
    }
  return out;
}

const TensorKind kPlainKinds[] = {TensorKind::token_embedding,
                                  TensorKind::output_norm,
                                  TensorKind::output,
                                  TensorKind::attention_norm,
                                  TensorKind::v,
                                  TensorKind::o,
                                  TensorKind::q_norm,
                                  TensorKind::k_norm,
                                  TensorKind::ffn_norm,
                                  TensorKind::gate,
                                  TensorKind::up,
                                  TensorKind::down};

}  // namespace

TEST_CASE("open_model: each tiny checkpoint has the parameters of its config.json") {
  const ModelSpec llama2 = open_tiny("llama2").bundle.spec;
  CHECK(llama2.architecture == "llama");
  CHECK(llama2.head_dim == 16);
  CHECK(llama2.n_kv_heads == 3);
  CHECK(llama2.ffn == 88);
  CHECK(llama2.rms_eps == 1e-5f);
  CHECK(llama2.rope.scaling == RopeScaling::linear);
  CHECK(llama2.rope.factor == 2);
  CHECK(llama2.rope.pairs == RopePairs::halves);
  CHECK_FALSE(llama2.tied_embeddings);

  const ModelSpec llama3 = open_tiny("llama3").bundle.spec;
  CHECK(llama3.n_heads == 4);
  CHECK(llama3.n_kv_heads == 2);
  CHECK(llama3.head_dim == 16);
  CHECK(llama3.hidden == 32);
  CHECK(llama3.rope.base == 500);
  CHECK(llama3.rope.scaling == RopeScaling::llama3);
  CHECK(llama3.rope.factor == 8);
  CHECK(llama3.rope.low_freq_factor == 1);
  CHECK(llama3.rope.high_freq_factor == 4);
  CHECK(llama3.rope.original_context == 128);

  const ModelSpec smollm2 = open_tiny("smollm2").bundle.spec;
  CHECK(smollm2.head_dim == 8);
  CHECK(smollm2.rope.base == 100000);
  CHECK(smollm2.rope.scaling == RopeScaling::none);
  CHECK(smollm2.tied_embeddings);

  const ModelSpec qwen2 = open_tiny("qwen2").bundle.spec;
  CHECK(qwen2.architecture == "qwen2");
  CHECK(qwen2.qkv_bias);
  CHECK_FALSE(qwen2.o_bias);
  CHECK(qwen2.head_dim == 40);
  CHECK(qwen2.sliding_window == 0);

  const ModelSpec qwen25 = open_tiny("qwen25").bundle.spec;
  CHECK(qwen25.tied_embeddings);
  CHECK(qwen25.vocab == 320);
  CHECK(qwen25.rope.base == 1000000);

  const ModelSpec qwen3 = open_tiny("qwen3").bundle.spec;
  CHECK(qwen3.architecture == "qwen3");
  CHECK(qwen3.qk_norm);
  CHECK_FALSE(qwen3.qkv_bias);
  CHECK(qwen3.head_dim == 32);

  const ModelSpec mistral = open_tiny("mistral").bundle.spec;
  CHECK(mistral.architecture == "mistral");
  CHECK(mistral.sliding_window == 16);

  const ModelSpec bias = open_tiny("llama-bias").bundle.spec;
  CHECK(bias.qkv_bias);
  CHECK(bias.o_bias);
  CHECK(bias.mlp_bias);
}

TEST_CASE("open_model: a GGUF file and the directory it was made from are the same model") {
  for (const std::string name : {"llama3", "qwen3"}) {
    CAPTURE(name);
    const OpenedModel directory = open_tiny(name),
                      file = open_tiny(name + "/" + name + "-f32.gguf");
    CHECK(directory.name == name);
    CHECK(file.name == name + "-f32");
    const bool adjacent = name == "llama3";
    ModelSpec spec = file.bundle.spec;
    CHECK(spec.rope.pairs == (adjacent ? RopePairs::adjacent : RopePairs::halves));
    CHECK(spec.rope.has_freq_divisors == adjacent);
    // How a file says its rotation differs; all else is equal.
    spec.rope = directory.bundle.spec.rope;
    CHECK(spec == directory.bundle.spec);
    CHECK(file.bundle.chat_template == directory.bundle.chat_template);
    CHECK_FALSE(file.bundle.chat_template.empty());

    for (int32_t layer = -1; layer < spec.n_layers; ++layer) {
      CAPTURE(layer);
      for (TensorKind kind : kPlainKinds) {
        CAPTURE(name_of(kind));
        CHECK(floats_of(*file.weights, {kind, layer}) ==
              floats_of(*directory.weights, {kind, layer}));
      }
      for (TensorKind kind : {TensorKind::q, TensorKind::k}) {
        if (layer < 0) continue;
        const auto heads =
            static_cast<size_t>(kind == TensorKind::q ? spec.n_heads : spec.n_kv_heads);
        auto rows = floats_of(*file.weights, {kind, layer});
        REQUIRE_FALSE(rows.empty());
        if (adjacent) rows = to_halves(rows, heads, static_cast<size_t>(spec.hidden));
        CHECK(rows == floats_of(*directory.weights, {kind, layer}));
      }
    }
    if (adjacent) {
      const auto divisors = floats_of(*file.weights, {TensorKind::rope_freqs, -1});
      REQUIRE(divisors.size() == 8);
      CHECK(divisors.front() == 1.0f);
      CHECK(divisors.back() == 8.0f);
    }
  }
}

TEST_CASE("open_model: the tokenizer of a GGUF file gives the ids of its directory's") {
  for (const std::string name : {"llama3", "qwen3"}) {
    CAPTURE(name);
    const TokenizerSpec file = open_tiny(name + "/" + name + "-f32.gguf").bundle.tokenizer;
    const TokenizerSpec directory = open_tiny(name).bundle.tokenizer;
    CHECK(file.pre_split == directory.pre_split);
    CHECK(file.merges == directory.merges);
    CHECK(file.tokens == directory.tokens);
    CHECK(file.added == directory.added);
    CHECK(file.bos == directory.bos);
    CHECK(file.eos == directory.eos);
    CHECK(file.add_bos == directory.add_bos);
    CHECK(file.nfc == directory.nfc);
    CHECK(file.ignore_merges == directory.ignore_merges);
    CHECK(file.end_of_generation == directory.end_of_generation);
  }
}

TEST_CASE("open_model: tokenizer.json gives the ids of the tokenizers package") {
  for (const std::string name :
       {"llama2", "llama3", "smollm2", "qwen2", "qwen25", "qwen3", "mistral", "llama-bias"}) {
    CAPTURE(name);
    auto spec = open_tokenizer(tiny(name));
    REQUIRE_MESSAGE(spec.has_value(), (spec ? "" : spec.error().message));
    const auto tokenizer = Tokenizer::make(std::move(*spec));
    REQUIRE_MESSAGE(tokenizer.has_value(), (tokenizer ? "" : tokenizer.error().message));
    simdjson::dom::parser parser;
    const simdjson::dom::array cases = parser.load(tiny(name) + "/tokens.json");
    REQUIRE(cases.size() > 5);
    for (const auto each : cases) {
      const std::string_view text = each["text"];
      CAPTURE(text);
      std::vector<TokenId> expected;
      for (const int64_t id : simdjson::dom::array(each["ids"]))
        expected.emplace_back(static_cast<int32_t>(id));
      CHECK((*tokenizer)->with_bos_eos((*tokenizer)->encode(text, SpecialText::parse)) == expected);
    }
  }
}

TEST_CASE("open_model: the ends of an answer come from all files of a directory") {
  const TokenizerSpec llama3 = open_tiny("llama3").bundle.tokenizer;
  CHECK(llama3.bos == TokenId(0));
  CHECK(llama3.eos == TokenId(2));
  CHECK(llama3.end_of_generation == std::vector{TokenId(1), TokenId(2)});

  const Scratch scratch;
  for (const char* file :
       {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"})
    write_all(scratch / file, read_all(tiny("llama2/") + file));
  const auto before = open_model(scratch.path());
  REQUIRE(before.has_value());
  CHECK(before->bundle.tokenizer.end_of_generation == std::vector{TokenId(2)});
  write_all(scratch / "generation_config.json", R"({"eos_token_id": [2, 7, 999999, -4]})");
  const auto after = open_model(scratch.path());
  REQUIRE(after.has_value());
  CHECK(after->bundle.tokenizer.end_of_generation == std::vector{TokenId(2), TokenId(7)});
}

TEST_CASE("open_model: the weights outlive the file's name and know its digest") {
  const Scratch scratch;
  const std::string bytes = read_all(tiny("qwen3/qwen3-q8_0.gguf"));
  write_all(scratch / "a.gguf", bytes);
  auto model = open_model(scratch / "a.gguf");
  REQUIRE(model.has_value());
  const auto expected = floats_of(*model->weights, {TensorKind::down, 1});
  std::filesystem::remove(scratch / "a.gguf");
  CHECK(floats_of(*model->weights, {TensorKind::down, 1}) == expected);
  CHECK(model->file_bytes == static_cast<int64_t>(bytes.size()));

  write_all(scratch / "b.gguf", bytes);
  std::string changed = bytes;
  changed.back() = static_cast<char>(changed.back() ^ 1);
  write_all(scratch / "c.gguf", changed);
  const auto same = open_model(scratch / "b.gguf"), other = open_model(scratch / "c.gguf");
  REQUIRE(same.has_value());
  REQUIRE(other.has_value());
  CHECK(same->weights->weights_id() == model->weights->weights_id());
  CHECK(other->weights->weights_id() != model->weights->weights_id());
}

TEST_CASE("open_tokenizer: a vocabulary without weights is enough") {
  for (const char* name : {"gpt-2", "llama-bpe", "llama-spm", "qwen2", "starcoder"}) {
    CAPTURE(name);
    const std::string path =
        TROUPE_DEPS_DIR "/llama/vendor/llama.cpp/models/ggml-vocab-" + std::string(name) + ".gguf";
    const auto spec = open_tokenizer(path);
    CHECK_MESSAGE(spec.has_value(), (spec ? "" : spec.error().message));
    const auto model = open_model(path);
    REQUIRE_FALSE(model.has_value());
    CHECK(model.error().message.find(path) == 0);
  }
}

}  // namespace tiny_models_test
