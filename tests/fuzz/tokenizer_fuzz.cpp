// Any bytes through every kind of tokenizer: no crash, byte vocabularies give the bytes back, and a
// stream shows what decode() gives. The first byte chooses the tokenizer; a last choice builds one
// from the bytes themselves.
#include <cstdlib>
#include <string>

#include "model/pre_split.h"
#include "model/text_stream.h"
#include "model/tokenizer.h"

namespace troupe {
namespace {

constexpr std::string_view kHex = "0123456789ABCDEF";

std::string alphabet_char(int byte) {
  int code = byte, next = 256;
  for (int b = 0; b <= byte; ++b) {
    const bool prints = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
    if (!prints && b == byte) code = next;
    if (!prints) ++next;
  }
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

TokenizerSpec byte_spec(std::string_view pre) {
  TokenizerSpec spec;
  spec.pre_split = *pre_split_patterns(pre);
  spec.nfc = pre_split_normalizes(pre);
  spec.ignore_merges = pre_split_ignores_merges(pre);
  for (int b = 0; b < 256; ++b) spec.tokens.push_back({alphabet_char(b)});
  const std::string space = alphabet_char(' ');
  spec.merges = {{"t", "h"}, {"th", "e"},  {space, "t"}, {space, space},
                 {"a", "a"}, {"aa", "aa"}, {"1", "2"}};
  for (const auto& [left, right] : spec.merges) spec.tokens.push_back({left + right});
  for (const char* text : {"<|im_end|>", "<s>", "\xC3\xA9t"}) {
    spec.added.push_back({.id = TokenId(static_cast<int32_t>(spec.tokens.size())),
                          .text = text,
                          .special = text[1] == '|',
                          .lstrip = text[1] == 's',
                          .rstrip = text[1] == 's',
                          .single_word = text[0] != '<',
                          .normalized = text[0] != '<'});
    spec.tokens.push_back({text, TokenType::user_defined});
  }
  return spec;
}

TokenizerSpec spm_spec() {
  TokenizerSpec spec;
  spec.kind = TokenizerKind::spm_bpe;
  spec.byte_fallback = spec.add_space_prefix = true;
  spec.merges_by_rank = false;
  spec.unk = TokenId(0);
  spec.tokens = {{"<unk>", TokenType::unknown}};
  for (size_t b = 0; b < 256; ++b)
    spec.tokens.push_back({{'<', '0', 'x', kHex[b / 16], kHex[b % 16], '>'}, TokenType::byte});
  float score = 0;
  for (const char* text :
       {"\u2581", "t", "h", "e", "a", "th", "the", "\u2581the", "\u2581\u2581", "aa", "\u4f60"})
    spec.tokens.push_back({text, TokenType::normal, score -= 1});
  return spec;
}

/// A vocabulary of whatever stands between line ends; often refused, which is fine.
TokenizerSpec spec_of(std::string_view data) {
  TokenizerSpec spec;
  while (!data.empty()) {
    const std::string line(data.substr(0, data.find('\n')));
    data.remove_prefix(std::min(data.size(), line.size() + 1));
    if (line.empty()) continue;
    switch (line[0]) {
      case 'p':
        spec.pre_split.push_back(line.substr(1));
        break;
      case 'a':
        spec.added.push_back(
            {.id = TokenId(static_cast<int32_t>(line.size())), .text = line.substr(1)});
        break;
      case 'm':
        spec.merges.emplace_back(line.substr(1, line.size() / 2),
                                 line.substr(std::min(line.size(), 1 + line.size() / 2)));
        break;
      case 's':
        spec.kind = TokenizerKind::spm_bpe;
        spec.merges_by_rank = line.size() % 2 != 0;
        break;
      default:
        spec.tokens.push_back(
            {line, static_cast<TokenType>(line.size() % 6), static_cast<float>(line.back())});
    }
  }
  return spec;
}

void exercise(const std::shared_ptr<const Tokenizer>& tokenizer, std::string_view text,
              bool gives_back) {
  for (const SpecialText special : {SpecialText::parse, SpecialText::plain}) {
    const auto ids = tokenizer->encode(text, special);
    std::string bytes, shown;
    TextStream stream(tokenizer, {}), stopping(tokenizer, {std::string(text.substr(0, 3)), "\n\n"});
    for (const TokenId id : ids) {
      bytes += tokenizer->bytes_of(id);
      shown += stream.push(id).text;
      stopping.push(id);
    }
    shown += stream.finish();
    stopping.finish();
    if (gives_back && bytes != text) std::abort();
    const std::string whole = tokenizer->decode(ids);
    if (shown != whole && shown != " " + whole) std::abort();
  }
}

}  // namespace
}  // namespace troupe

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace troupe;
  static const std::vector<std::shared_ptr<const Tokenizer>> fixed = {
      Tokenizer::make(byte_spec("gpt2")).value(),
      Tokenizer::make(byte_spec("smollm")).value(),
      Tokenizer::make(byte_spec("llama-bpe")).value(),
      Tokenizer::make(byte_spec("qwen2")).value(),
      Tokenizer::make(spm_spec()).value(),
      Tokenizer::make(oracle_tokenizer_spec()).value()};
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t choice = data[0] % (fixed.size() + 1);
  if (choice < fixed.size()) {
    const bool swallows = text.find("<s>") != std::string_view::npos;  // its white space rules
    exercise(fixed[choice], text, choice != 4 && choice != 3 && !swallows);
  } else if (const auto made = Tokenizer::make(spec_of(text))) {
    exercise(*made, text, false);
  }
  return 0;
}
