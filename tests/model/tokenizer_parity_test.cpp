// Our ids against those of llama.cpp and Hugging Face `tokenizers`, which agree on all strings but
// those listed in tests/golden/tokenizer/exceptions-*.txt (there Hugging Face is right). Made by
// scripts/golden/tokenizer_goldens.py.
#include <doctest/doctest.h>

#include <array>
#include <charconv>
#include <fstream>
#include <sstream>

#include "config/limits.h"
#include "model/files/gguf_tokenizer.h"
#include "model/files/mapped_file.h"
#include "model/tokenizer.h"
#include "tests/support/message_of.h"

namespace troupe {
namespace tokenizer_parity_test {
namespace {

const std::string kGoldens = std::string(TROUPE_SOURCE_DIR) + "/tests/golden/tokenizer/";

std::vector<std::string> lines_of(const std::string& name) {
  std::ifstream in(kGoldens + name);
  REQUIRE_MESSAGE(in.good(), "cannot read " << kGoldens << name);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

void append_utf8(std::string& out, unsigned code) {
  const auto put = [&](unsigned byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6), put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  }
}

/// Undoes the corpus's escapes: a double backslash and \u{HEX}.
std::string unescaped(std::string_view line) {
  std::string out;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] != '\\') {
      out += line[i];
    } else if (line.substr(i).starts_with("\\u{")) {
      const size_t end = line.find('}', i);
      unsigned code = 0;
      std::from_chars(line.data() + i + 3, line.data() + end, code, 16);
      append_utf8(out, code);
      i = end;
    } else {
      out += line[++i];
    }
  }
  return out;
}

std::string fnv(const std::vector<TokenId>& ids) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const TokenId id : ids)
    for (int shift = 0; shift < 32; shift += 8)
      hash = (hash ^ (static_cast<uint32_t>(id.value) >> shift & 0xFF)) * 0x100000001B3u;
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

std::string listed(const std::vector<TokenId>& ids) {
  std::ostringstream out;
  for (size_t i = 0; i < ids.size(); ++i) out << (i ? " " : "") << ids[i];
  return out.str();
}

std::shared_ptr<const Tokenizer> open(const std::string& file) {
  const std::string path = std::string(TROUPE_DEPS_DIR) + file;
  const auto mapped = MappedFile::open(path, kModelFileBytesMax);
  REQUIRE_MESSAGE(mapped.has_value(), path << " is needed: run scripts/setup");
  const auto gguf = parse_gguf((*mapped)->bytes(), path);
  REQUIRE(gguf.has_value());
  auto spec = tokenizer_from_gguf(*gguf, path);
  REQUIRE_MESSAGE(spec.has_value(), test::message_of(spec));
  auto tokenizer = Tokenizer::make(std::move(*spec));
  REQUIRE_MESSAGE(tokenizer.has_value(), test::message_of(tokenizer));
  return *tokenizer;
}

const std::string kVocabs = "/llama/vendor/llama.cpp/models/ggml-vocab-";
constexpr size_t kFull = 100;  ///< strings whose ids the golden lists in full

/// Compares every string of the corpus in both modes; a failure names the string and our ids.
void compare(const Tokenizer& tokenizer, const std::string& name, const std::string& corpus_name,
             size_t at_least) {
  const auto corpus = lines_of(corpus_name), golden = lines_of(name + ".txt");
  REQUIRE(corpus.size() >= at_least);
  REQUIRE(golden.size() == corpus.size() + std::min(kFull, corpus.size()));
  size_t line = 0, wrong = 0;
  for (size_t i = 0; i < corpus.size(); ++i) {
    const std::string text = unescaped(corpus[i]);
    const auto parse = tokenizer.encode(text, SpecialText::parse);
    const auto plain = tokenizer.encode(text, SpecialText::plain);
    const std::string ours = std::to_string(parse.size()) + " " + fnv(parse) + " " +
                             std::to_string(plain.size()) + " " + fnv(plain);
    const bool equal = ours == golden[line] && (i >= kFull || listed(parse) == golden[line + 1]);
    if (!equal && ++wrong <= 10)
      MESSAGE(name << " string " << i << " '" << corpus[i] << "' gave " << listed(parse) << " and "
                   << listed(plain) << ", expected " << golden[line] << " "
                   << (i < kFull ? golden[line + 1] : ""));
    line += i < kFull ? 2 : 1;
  }
  CHECK(wrong == 0);
}

/// Bytes no token stands for: SmolLM2's vocabulary lacks most control characters, which are lost.
std::string bytes_without_token(const Tokenizer& tokenizer) {
  std::array<bool, 256> has{};
  for (int32_t id = 0; id < tokenizer.vocab(); ++id)
    if (const auto bytes = tokenizer.bytes_of(TokenId(id)); bytes.size() == 1)
      has[static_cast<uint8_t>(bytes[0])] = true;
  std::string out;
  for (size_t byte = 0; byte < has.size(); ++byte)
    if (!has[byte]) out += static_cast<char>(byte);
  return out;
}

/// Text comes back from its own ids, whatever the oracles say.
void round_trip(const Tokenizer& tokenizer, const std::string& name) {
  const std::string lost = bytes_without_token(tokenizer);
  size_t checked = 0;
  for (const std::string& line : lines_of("corpus.txt")) {
    const std::string text = unescaped(line);
    if (tokenizer.spec().kind == TokenizerKind::spm_bpe && text.find("\u2581") != std::string::npos)
      continue;  // U+2581 is the space of these vocabularies
    if (text.find_first_of(lost) != std::string::npos) continue;
    const std::string back = tokenizer.decode(tokenizer.encode(text, SpecialText::plain));
    if (tokenizer.spec().nfc && back != text) {
      // Normalised: then encoding once more changes nothing.
      CHECK(tokenizer.decode(tokenizer.encode(back, SpecialText::plain)) == back);
      continue;
    }
    CHECK_MESSAGE(back == text, name << ": " << line);
    ++checked;
  }
  CHECK(checked > 2'400);
}

void exceptions_are_few(const std::string& name) {
  const auto lines = lines_of("exceptions-" + name + ".txt");
  REQUIRE_FALSE(lines.empty());
  CHECK((lines.size() - 1) * 100 <= lines_of("corpus.txt").size());
  for (size_t i = 1; i < lines.size(); ++i) {
    const size_t reason = lines[i].find('\t') + 1;
    CHECK_MESSAGE(lines[i].find('\t', reason) > reason + 10, "no reason: " << lines[i]);
  }
}

void all_checks(const std::string& name, const std::string& file) {
  const auto tokenizer = open(file);
  compare(*tokenizer, name, "corpus.txt", 2'000);
  round_trip(*tokenizer, name);
  exceptions_are_few(name);
}

TEST_CASE("tokenizer parity: smollm equals both oracles") {
  all_checks("smollm", "/models/smollm2.gguf");
}
TEST_CASE("tokenizer parity: gpt-2 equals both oracles") {
  all_checks("gpt-2", kVocabs + "gpt-2.gguf");
}
TEST_CASE("tokenizer parity: llama-bpe equals both oracles") {
  all_checks("llama-bpe", kVocabs + "llama-bpe.gguf");
}
TEST_CASE("tokenizer parity: qwen2 equals both oracles") {
  all_checks("qwen2", kVocabs + "qwen2.gguf");
  const auto tokenizer = open(kVocabs + "qwen2.gguf");
  compare(*tokenizer, "qwen2-nfc", "corpus-nfc.txt", 240);
}
TEST_CASE("tokenizer parity: llama-spm equals both oracles") {
  all_checks("llama-spm", kVocabs + "llama-spm.gguf");
}

}  // namespace
}  // namespace tokenizer_parity_test
}  // namespace troupe
