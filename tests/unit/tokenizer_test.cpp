#include "model/tokenizer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <set>

#include "model/pre_split.h"
#include "tests/support/message_of.h"

namespace troupe {
namespace tokenizer_test {
namespace {

std::string random_bytes(std::mt19937_64& random, size_t most) {
  std::string out(random() % (most + 1), '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

std::vector<int32_t> values(const std::vector<TokenId>& ids) {
  std::vector<int32_t> out;
  for (const TokenId id : ids) out.push_back(id.value);
  return out;
}

/// UTF-8 of the character that stands for a byte in the byte-to-character alphabet, worked out from
/// the rule in the GPT-2 paper's code: printable Latin-1 as itself, the others counted up from
/// U+0100.
std::string spelled(uint8_t byte) {
  int code = byte, next = 256;
  for (int b = 0; b < 256; ++b) {
    const bool prints = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
    if (!prints && b == byte) code = next;
    if (!prints) ++next;
  }
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

/// 256 bytes (id = byte), then what the merges make, in order.
TokenizerSpec byte_spec(std::vector<std::pair<std::string, std::string>> merges) {
  TokenizerSpec spec;
  spec.pre_split = *pre_split_patterns("gpt2");
  for (int b = 0; b < 256; ++b) spec.tokens.push_back({spelled(static_cast<uint8_t>(b))});
  for (const auto& [left, right] : merges) spec.tokens.push_back({left + right});
  spec.merges = std::move(merges);
  return spec;
}

/// id 0 unknown, 1 and 2 control, 3..258 bytes, then the given tokens with falling scores.
TokenizerSpec spm_spec(const std::vector<std::string>& tokens) {
  TokenizerSpec spec;
  spec.kind = TokenizerKind::spm_bpe;
  spec.tokens = {
      {"<unk>", TokenType::unknown}, {"<s>", TokenType::control}, {"</s>", TokenType::control}};
  for (int b = 0; b < 256; ++b) {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    spec.tokens.push_back(
        {{'<', '0', 'x', kHex[static_cast<size_t>(b / 16)], kHex[static_cast<size_t>(b % 16)], '>'},
         TokenType::byte});
  }
  float score = 0;
  for (const auto& text : tokens) spec.tokens.push_back({text, TokenType::normal, score -= 1});
  spec.unk = TokenId(0);
  spec.bos = TokenId(1);
  spec.eos = TokenId(2);
  spec.byte_fallback = spec.add_space_prefix = spec.add_bos = true;
  spec.merges_by_rank = false;
  return spec;
}

std::shared_ptr<const Tokenizer> made(TokenizerSpec spec) {
  auto tokenizer = Tokenizer::make(std::move(spec));
  REQUIRE_MESSAGE(tokenizer.has_value(), test::message_of(tokenizer));
  return *tokenizer;
}

std::string refusal(TokenizerSpec spec) {
  const auto tokenizer = Tokenizer::make(std::move(spec));
  REQUIRE_FALSE(tokenizer.has_value());
  CHECK(tokenizer.error().code == ErrorCode::data_loss);
  return tokenizer.error().message;
}

/// The textbook algorithm, quadratic: again and again the best pair, leftmost first.
std::vector<std::string> merged_by_definition(
    std::vector<std::string> symbols,
    const std::vector<std::pair<std::string, std::string>>& merges) {
  for (;;) {
    size_t best_rank = merges.size(), best_at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i)
      for (size_t rank = 0; rank < best_rank; ++rank)
        if (merges[rank].first == symbols[i] && merges[rank].second == symbols[i + 1]) {
          best_rank = rank;
          best_at = i;
        }
    if (best_rank == merges.size()) return symbols;
    symbols[best_at] += symbols[best_at + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
}

TEST_CASE("tokenizer: byte merges equal the textbook algorithm on random merges and text") {
  const uint64_t seed = 77;
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> known = {"a", "b", "c"};
    std::vector<std::pair<std::string, std::string>> merges;
    while (merges.size() < 1 + round % 20u) {
      const auto left = known[random() % known.size()], right = known[random() % known.size()];
      if (left.size() + right.size() > 8) continue;
      if (std::ranges::find(merges, std::pair(left, right)) != merges.end()) continue;
      if (std::ranges::find(known, left + right) != known.end()) continue;
      merges.emplace_back(left, right);
      known.push_back(left + right);
    }
    const auto tokenizer = made(byte_spec(merges));
    for (int i = 0; i < 20; ++i) {
      std::vector<std::string> symbols;
      std::string text;
      for (size_t n = random() % 60; n > 0; --n) {
        symbols.emplace_back(1, "abc"[random() % 3]);
        text += symbols.back();
      }
      std::vector<std::string> got;
      for (const TokenId id : tokenizer->encode(text, SpecialText::plain))
        got.emplace_back(tokenizer->bytes_of(id));
      CHECK(got == merged_by_definition(symbols, merges));
    }
  }
}

TEST_CASE("tokenizer: a byte vocabulary gives back any bytes") {
  const uint64_t seed = 5;
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  const auto tokenizer = made(byte_spec({{"t", "h"}, {"th", "e"}, {spelled(0xC3), spelled(0xA9)}}));
  for (int i = 0; i < 500; ++i) {
    const std::string text = random_bytes(random, 40);
    std::string back;
    for (const TokenId id : tokenizer->encode(text, SpecialText::parse))
      back += tokenizer->bytes_of(id);
    CHECK(back == text);
  }
  CHECK(values(tokenizer->encode("the \xC3\xA9", SpecialText::plain)) ==
        std::vector<int32_t>{257, ' ', 258});
}

TEST_CASE("tokenizer: a very long piece is merged in good time") {
  const auto tokenizer = made(byte_spec({{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}}));
  const auto ids = tokenizer->encode(std::string(1'000'003, 'a'), SpecialText::plain);
  CHECK(ids.size() == 1'000'003 / 8 + 2);  // ... aa a
}

TEST_CASE("tokenizer: ignore_merges takes a piece that is a token whole") {
  auto spec = byte_spec({{"a", "b"}, {"b", "c"}});
  spec.tokens.push_back({"abc"});
  CHECK(values(made(spec)->encode("abc", SpecialText::plain)) == std::vector<int32_t>{256, 'c'});
  spec.ignore_merges = true;
  CHECK(values(made(spec)->encode("abc", SpecialText::plain)) == std::vector<int32_t>{258});
}

TEST_CASE("tokenizer: special-token text becomes a token in a template and stays text in content") {
  auto spec = byte_spec({});
  spec.tokens.push_back({"<|end|>", TokenType::control});
  spec.tokens.push_back({"<tool>", TokenType::user_defined});
  spec.added = {{TokenId(256), "<|end|>", true}, {TokenId(257), "<tool>", false}};
  const auto tokenizer = made(spec);
  CHECK(values(tokenizer->encode("a<|end|><tool>", SpecialText::parse)) ==
        std::vector<int32_t>{'a', 256, 257});
  const auto plain = tokenizer->encode("a<|end|><tool>", SpecialText::plain);
  CHECK(plain.size() == 9);
  CHECK(plain.back() == TokenId(257));
  CHECK(std::ranges::find(plain, TokenId(256)) == plain.end());
  CHECK(tokenizer->decode(plain) == "a<|end|><tool>");
  CHECK(tokenizer->bytes_of(TokenId(256)).empty());  // a control token has no text
}

TEST_CASE("tokenizer: the longest added token wins, and its white space rules hold") {
  auto spec = byte_spec({});
  for (const char* text : {"<x>", "<x>y", "word", "<l>", "<r>"})
    spec.tokens.push_back({text, TokenType::user_defined});
  spec.added = {{.id = TokenId(256), .text = "<x>"},
                {.id = TokenId(257), .text = "<x>y"},
                {.id = TokenId(258), .text = "word", .single_word = true},
                {.id = TokenId(259), .text = "<l>", .lstrip = true},
                {.id = TokenId(260), .text = "<r>", .rstrip = true}};
  const auto tokenizer = made(spec);
  const auto ids = [&](std::string_view text) {
    return values(tokenizer->encode(text, SpecialText::plain));
  };
  CHECK(ids("<x>y<x>z") == std::vector<int32_t>{257, 256, 'z'});
  CHECK(ids("word") == std::vector<int32_t>{258});
  CHECK(ids(".word!") == std::vector<int32_t>{'.', 258, '!'});
  CHECK(ids("swords").size() == 6);
  CHECK(ids("\xC3\xA9word").size() == 6);
  CHECK(ids("a \xE3\x80\x80<l> b") ==
        std::vector<int32_t>{'a', 259, ' ', 'b'});  // U+3000 is white space
  CHECK(ids("a <r> \n b") == std::vector<int32_t>{'a', ' ', 260, 'b'});
  CHECK(ids("<r> <l>") == std::vector<int32_t>{260, 259});
}

TEST_CASE("tokenizer: text is normalised to NFC where the model asks for it") {
  auto spec = byte_spec({});
  const std::string decomposed = "e\xCC\x81 \xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB a",
                    composed = "\xC3\xA9 \xED\x95\x9C a";
  CHECK(made(spec)->decode(made(spec)->encode(decomposed, SpecialText::plain)) == decomposed);
  spec.nfc = true;
  CHECK(made(spec)->decode(made(spec)->encode(decomposed, SpecialText::plain)) == composed);
}

TEST_CASE("tokenizer: normalising a very long run of marks takes no quadratic time") {
  auto spec = byte_spec({});
  spec.nfc = true;
  const std::string above = "\xCC\x81", below = "\xCC\xA3";
  std::string text = "x", expected = "x";
  constexpr int kMarks = 200'000;
  for (int i = 0; i < kMarks; ++i) text += above + below;
  for (int i = 0; i < kMarks; ++i) expected += below;  // class 220
  for (int i = 0; i < kMarks; ++i) expected += above;  // class 230
  CHECK(made(spec)->decode(made(spec)->encode(text, SpecialText::plain)) == expected);
}

TEST_CASE("tokenizer: SentencePiece merges by score, adds a space prefix and falls back to bytes") {
  const std::string sp = "\xE2\x96\x81";
  const auto tokenizer = made(spm_spec({"ab", sp + "a", sp, "a", "b", sp + "ab"}));
  const int32_t ab = 259, sp_a = 260, sp_ab = 264, b = 263;
  CHECK(values(tokenizer->encode("ab", SpecialText::plain)) == std::vector<int32_t>{sp_ab});
  CHECK(values(tokenizer->encode("a b", SpecialText::plain)) == std::vector<int32_t>{sp_a, 261, b});
  CHECK(values(tokenizer->encode("aab", SpecialText::plain)) == std::vector<int32_t>{sp_a, ab});
  CHECK(values(tokenizer->encode("\xC3\xA9", SpecialText::plain)) ==
        std::vector<int32_t>{261, 3 + 0xC3, 3 + 0xA9});
  CHECK(values(tokenizer->encode("\xFF", SpecialText::plain)) == std::vector<int32_t>{3 + 0xFF});
  CHECK(tokenizer->encode("", SpecialText::plain).empty());
  CHECK(values(tokenizer->with_bos_eos(tokenizer->encode("ab", SpecialText::plain))) ==
        std::vector<int32_t>{1, sp_ab});
  CHECK(values(tokenizer->with_bos_eos({TokenId(1)})) == std::vector<int32_t>{1});  // not twice
  CHECK(tokenizer->decode(std::vector{TokenId(1), TokenId(sp_ab), TokenId(sp_a)}) == "ab a");
  CHECK(tokenizer->bytes_of(TokenId(sp_ab)) == " ab");
  CHECK(tokenizer->ends_generation(TokenId(2)));
  CHECK_FALSE(tokenizer->ends_generation(TokenId(1)));
}

TEST_CASE("tokenizer: without byte fallback a run of unknown characters is one unknown token") {
  auto spec = spm_spec({"\xE2\x96\x81", "a"});
  spec.byte_fallback = false;
  CHECK(values(made(spec)->encode("xya", SpecialText::plain)) == std::vector<int32_t>{259, 0, 260});
}

TEST_CASE("tokenizer: ids outside the vocabulary and broken bytes decode without harm") {
  const auto tokenizer = made(byte_spec({}));
  CHECK(tokenizer->decode(std::vector{TokenId(-1), TokenId(1 << 30), TokenId('a')}) == "a");
  CHECK(tokenizer->decode(std::vector{TokenId(0xE4), TokenId(0xBD), TokenId('x'), TokenId(0xFF)}) ==
        "\xEF\xBF\xBDx\xEF\xBF\xBD");
}

TEST_CASE("tokenizer: a damaged spec is refused with a sentence") {
  CHECK(refusal({}) ==
        "the vocabulary is empty: the model's tokenizer is damaged, fetch the file again");
  auto spec = byte_spec({});
  spec.bos = TokenId(256);
  CHECK(refusal(spec) ==
        "the bos id 256 is outside the vocabulary of 256: the model's tokenizer is damaged, fetch "
        "the file again");
  spec = byte_spec({});
  spec.added = {{TokenId(-1), "x"}};
  CHECK(refusal(spec).starts_with("the added token id -1 is outside the vocabulary of 256"));
  spec = byte_spec({});
  spec.end_of_generation = {TokenId(300)};
  CHECK(refusal(spec).starts_with("the end-of-generation id 300 is outside"));
  spec = byte_spec({});
  spec.merges = {{"a", "b"}};
  CHECK(refusal(spec).starts_with(
      "merge 0 of the tokenizer (\"a\" + \"b\") names a text that is not in the vocabulary"));
  spec = byte_spec({});
  spec.pre_split = {"(unclosed"};
  CHECK(refusal(spec).starts_with(
      "the tokenizer's split pattern \"(unclosed\" is not understood (missing closing"));
  spec = byte_spec({});
  spec.tokens[7].text = std::string(5'000, 'x');
  CHECK(refusal(spec).starts_with("token 7 is 5000 bytes long, more than 4096"));
  spec = spm_spec({"a"});
  spec.tokens.back().score = std::numeric_limits<float>::quiet_NaN();
  CHECK(refusal(spec).starts_with("the score of token 259 is not a finite number"));
  spec = oracle_tokenizer_spec();
  spec.tokens[65].text = "no";
  CHECK(refusal(spec).starts_with("the oracle vocabulary has no token for byte 65"));
}

TEST_CASE("tokenizer: the oracle vocabulary has 4,096 distinct tokens and gives back any bytes") {
  const auto tokenizer = made(oracle_tokenizer_spec());
  CHECK(tokenizer->vocab() == 4'096);
  CHECK(tokenizer->bytes_of(TokenId(0)).empty());
  CHECK(tokenizer->ends_generation(TokenId(0)));
  std::set<std::string_view> distinct;
  for (int32_t id = 1; id < 4'096; ++id) {
    const auto bytes = tokenizer->bytes_of(TokenId(id));
    if (id < 256) CHECK(bytes == std::string(1, static_cast<char>(id)));
    if (id > 256) {
      CHECK(bytes.size() <= 6);
      CHECK(bytes.front() == ' ');
    }
    distinct.insert(bytes);
  }
  CHECK(distinct.size() == 4'095);
  const uint64_t seed = 11;
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 500; ++i) {
    std::string text = random_bytes(random, 30);
    for (size_t n = random() % 5; n > 0; --n)
      text += tokenizer->bytes_of(TokenId(1 + static_cast<int32_t>(random() % 4'095)));
    std::string back;
    for (const TokenId id : tokenizer->encode(text, SpecialText::parse))
      back += tokenizer->bytes_of(id);
    CHECK(back == text);
  }
  CHECK(tokenizer->encode(" ba bo", SpecialText::plain).size() == 2);
}

TEST_CASE("pre-split: known names have patterns, an unknown one has none") {
  for (const char* name : {"gpt2", "gpt-2", "default", "smollm", "llama-bpe", "llama3", "qwen2"}) {
    auto spec = byte_spec({});
    const auto patterns = pre_split_patterns(name);
    REQUIRE(patterns.has_value());
    spec.pre_split = *patterns;
    CHECK(made(spec)->decode(made(spec)->encode("It's 12 \xE4\xBD\xA0 \n", SpecialText::plain)) ==
          "It's 12 \xE4\xBD\xA0 \n");
  }
  CHECK_FALSE(pre_split_patterns("gpt-3").has_value());
  CHECK(pre_split_normalizes("qwen2"));
  CHECK_FALSE(pre_split_normalizes("llama-bpe"));
  CHECK(pre_split_ignores_merges("llama3"));
  CHECK_FALSE(pre_split_ignores_merges("qwen2"));
}

}  // namespace
}  // namespace tokenizer_test
}  // namespace troupe
