#include "model/text/byte_bpe.h"

#include <array>
#include <utility>

#include "model/text/bpe_base.h"
#include "model/text/pattern.h"
#include "model/text/piece_cache.h"
#include "model/text/unicode.h"

namespace troupe {

namespace {

// GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the other 68 for U+0100 and up,
// in order.
constexpr char32_t kAlphabetEnd = 256 + 68;

constexpr bool prints(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

std::array<int16_t, kAlphabetEnd> make_byte_of_char() {
  std::array<int16_t, kAlphabetEnd> byte_of;
  byte_of.fill(-1);
  char32_t next = 256;
  for (unsigned byte = 0; byte < 256; ++byte)
    byte_of[prints(byte) ? byte : next++] = static_cast<int16_t>(byte);
  return byte_of;
}

/// Bytes that `text` spells in the alphabet. A text with a character outside of it (an added token)
/// stands for itself.
std::string spelled_bytes(std::string_view text) {
  static const auto byte_of = make_byte_of_char();
  std::string out;
  for (std::string_view rest = text; !rest.empty();) {
    const Utf8Char c = first_char(rest);
    if (!c.valid || c.code >= kAlphabetEnd || byte_of[c.code] < 0) return std::string(text);
    out += static_cast<char>(byte_of[c.code]);
    rest.remove_prefix(c.bytes);
  }
  return out;
}

class ByteBpe final : public BpeBase {
 public:
  ByteBpe(TokenizerSpec spec, std::vector<Pattern> patterns, std::vector<Merges::Rule> rules)
      : BpeBase(std::move(spec)),
        patterns_(std::move(patterns)),
        merges_(std::move(rules)),
        owner_(PieceCache::new_owner()) {
    for (const TokenEntry& token : spec_.tokens) {
      switch (token.type) {
        case TokenType::control:
        case TokenType::unknown:
          bytes_.add({});
          break;
        case TokenType::user_defined:
          bytes_.add(token.text);
          break;
        default:
          bytes_.add(spelled_bytes(token.text));
      }
    }
    byte_ids_.fill(TokenId(-1));
    for (size_t i = 0; i < spec_.tokens.size(); ++i) {
      const TokenId id(static_cast<int32_t>(i));
      const std::string_view bytes = bytes_.of(id);
      if (bytes.empty() || spec_.tokens[i].type != TokenType::normal) continue;
      if (bytes.size() == 1) byte_ids_[static_cast<uint8_t>(bytes[0])] = id;
      if (spec_.ignore_merges) whole_.insert_or_assign(bytes, id);
    }
  }

 private:
  void encode_text(std::string_view text, std::vector<TokenId>& out) const override {
    std::vector<std::string_view> pieces{text}, finer;
    for (const Pattern& pattern : patterns_) {
      finer.clear();
      for (const auto piece : pieces) pattern.split(piece, finer);
      pieces.swap(finer);
    }
    PieceCache& cache = PieceCache::of_this_thread();
    std::vector<TokenId> symbols;
    for (const auto piece : pieces) {
      if (const auto known = cache.find(owner_, piece); !known.empty()) {
        out.insert(out.end(), known.begin(), known.end());
        continue;
      }
      encode_piece(piece, symbols);
      cache.put(owner_, piece, symbols);
      out.insert(out.end(), symbols.begin(), symbols.end());
    }
  }

  void encode_bytes(std::string_view bytes, std::vector<TokenId>& out) const override {
    std::vector<TokenId> symbols;
    encode_piece(bytes, symbols);
    out.insert(out.end(), symbols.begin(), symbols.end());
  }

  void encode_piece(std::string_view piece, std::vector<TokenId>& symbols) const {
    symbols.clear();
    if (const auto whole = whole_.find(piece); whole != whole_.end()) {
      symbols.push_back(whole->second);
      return;
    }
    // A byte that has no token is left out, as both reference implementations do (SmolLM2 lacks
    // some that never occur in UTF-8).
    for (const char c : piece)
      if (const TokenId id = byte_ids_[static_cast<uint8_t>(c)]; id.value >= 0)
        symbols.push_back(id);
    merges_.apply(symbols);
  }

  std::vector<Pattern> patterns_;
  Merges merges_;
  std::array<TokenId, 256> byte_ids_;
  TokenIndex whole_;  ///< only with ignore_merges; views bytes_
  uint32_t owner_;
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> make_byte_bpe(TokenizerSpec spec) {
  std::vector<Pattern> patterns;
  for (const std::string& source : spec.pre_split) {
    auto pattern = Pattern::compile(source);
    if (!pattern) return std::unexpected(std::move(pattern.error()));
    patterns.push_back(std::move(*pattern));
  }
  auto rules = rules_by_rank(spec, index_tokens(spec.tokens));
  if (!rules) return std::unexpected(std::move(rules.error()));
  return std::make_shared<ByteBpe>(std::move(spec), std::move(patterns), std::move(*rules));
}

}  // namespace troupe
