#include "model/text/spm_bpe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <tuple>
#include <utility>

#include "model/text/bpe_base.h"
#include "model/text/piece_cache.h"
#include "model/text/unicode.h"

namespace troupe {

namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581

/// The byte of a "<0x1F>" text.
std::optional<uint8_t> named_byte(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text.back() != '>') return std::nullopt;
  unsigned value = 0;
  for (const char c : text.substr(3, 2)) {
    if (c >= '0' && c <= '9')
      value = value * 16 + static_cast<unsigned>(c - '0');
    else if (c >= 'A' && c <= 'F')
      value = value * 16 + static_cast<unsigned>(c - 'A' + 10);
    else
      return std::nullopt;
  }
  return static_cast<uint8_t>(value);
}

std::string with_spaces(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const bool space = text.starts_with(kSpace);
    out += space ? ' ' : text.front();
    text.remove_prefix(space ? kSpace.size() : 1);
  }
  return out;
}

/// SentencePiece stores a score for each token, not merges: every split of a token into two tokens
/// is a rule, the better token first. Ties as in Hugging Face's converter (longer left part, then
/// lower ids first), so that both give the same ids.
std::vector<Merges::Rule> rules_by_score(const TokenizerSpec& spec, const TokenIndex& index) {
  struct Scored {
    Merges::Rule rule;
    float score;
    size_t left_chars, right_chars;
    size_t order = 0;  ///< found earlier, better among equals
  };
  const auto chars = [](std::string_view text) {
    return static_cast<size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
  };
  std::vector<Scored> found;
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    if (spec.tokens[i].type != TokenType::normal) continue;
    const std::string_view text = spec.tokens[i].text;
    std::vector<Scored> of_token;
    for (size_t cut = 1; cut < text.size(); ++cut) {
      if ((text[cut] & 0xC0) == 0x80) continue;
      const auto left = index.find(text.substr(0, cut)), right = index.find(text.substr(cut));
      if (left == index.end() || right == index.end()) continue;
      of_token.push_back({{left->second, right->second, TokenId(static_cast<int32_t>(i))},
                          spec.tokens[i].score,
                          chars(text.substr(0, cut)),
                          chars(text.substr(cut))});
    }
    std::ranges::sort(of_token, {},
                      [](const Scored& s) { return std::pair(s.rule.left, s.rule.right); });
    found.insert(found.end(), of_token.begin(), of_token.end());
  }
  for (size_t i = 0; i < found.size(); ++i) found[i].order = i;
  std::ranges::sort(found, [](const Scored& a, const Scored& b) {
    return std::tuple(b.score, b.left_chars, b.right_chars, a.order) <
           std::tuple(a.score, a.left_chars, a.right_chars, b.order);
  });
  std::vector<Merges::Rule> rules;
  rules.reserve(found.size());
  for (const Scored& s : found) rules.push_back(s.rule);
  return rules;
}

/// True when no rule ever joins something before a space with the space: then text may be cut
/// there.
bool words_never_join(const std::vector<TokenEntry>& tokens,
                      const std::vector<Merges::Rule>& rules) {
  return std::ranges::none_of(rules, [&](const Merges::Rule& rule) {
    const auto text = [&](TokenId id) {
      return std::string_view(tokens[static_cast<size_t>(id.value)].text);
    };
    return text(rule.right).starts_with(kSpace) && !text(rule.left).ends_with(kSpace);
  });
}

class SpmBpe final : public BpeBase {
 public:
  SpmBpe(TokenizerSpec spec, std::vector<Merges::Rule> rules)
      : BpeBase(std::move(spec)),
        cut_words_(words_never_join(spec_.tokens, rules)),
        merges_(std::move(rules)),
        owner_(PieceCache::new_owner()) {
    byte_ids_.fill(TokenId(-1));
    for (size_t i = 0; i < spec_.tokens.size(); ++i)
      add_token(TokenId(static_cast<int32_t>(i)), spec_.tokens[i]);
    has_all_bytes_ = std::ranges::none_of(byte_ids_, [](TokenId id) { return id.value < 0; });
  }

 private:
  void add_token(TokenId id, const TokenEntry& token) {
    const auto byte = named_byte(token.text);
    if (token.type == TokenType::byte && byte) {
      bytes_.add(std::string(1, static_cast<char>(*byte)));
      byte_ids_[*byte] = id;
      return;
    }
    if (token.type == TokenType::control || token.type == TokenType::unknown) {
      bytes_.add({});
      return;
    }
    bytes_.add(token.type == TokenType::user_defined ? token.text : with_spaces(token.text));
    if (token.text.empty()) return;
    const Utf8Char c = first_char(token.text);
    if (!c.valid || c.bytes != token.text.size()) return;
    if (c.code >= char_ids_.size()) char_ids_.resize(c.code + 1, TokenId(-1));
    char_ids_[c.code] = id;
  }

  void encode_text(std::string_view text, std::vector<TokenId>& out) const override {
    std::string spaced;
    spaced.reserve(text.size() + text.size() / 4 + kSpace.size());
    if (spec_.add_space_prefix && (out.empty() || !spec_.space_prefix_once)) spaced += kSpace;
    for (const char c : text) {
      if (c == ' ')
        spaced += kSpace;
      else
        spaced += c;
    }
    PieceCache& cache = PieceCache::of_this_thread();
    std::vector<TokenId> symbols;
    for (std::string_view rest = spaced; !rest.empty();) {
      const std::string_view piece = rest.substr(0, cut_words_ ? word_end(rest) : rest.size());
      rest.remove_prefix(piece.size());
      if (const auto known = cache.find(owner_, piece); !known.empty()) {
        append_fused(known, out);
        continue;
      }
      symbols.clear();
      for (std::string_view left = piece; !left.empty();) {
        const Utf8Char c = first_char(left);
        add_char(c.code, left.substr(0, c.bytes), symbols);
        left.remove_prefix(c.bytes);
      }
      merges_.apply(symbols);
      cache.put(owner_, piece, symbols);
      append_fused(symbols, out);
    }
  }

  void encode_bytes(std::string_view bytes, std::vector<TokenId>& out) const override {
    std::vector<TokenId> symbols;
    add_bytes(bytes, symbols);
    append_fused(symbols, out);
  }

  /// Length of the spaces at the start and the word after them.
  static size_t word_end(std::string_view text) {
    size_t i = 0;
    while (text.substr(i).starts_with(kSpace)) i += kSpace.size();
    return std::min(text.find(kSpace, i), text.size());
  }

  void add_char(char32_t code, std::string_view bytes, std::vector<TokenId>& symbols) const {
    if (code < char_ids_.size() && char_ids_[code].value >= 0)
      symbols.push_back(char_ids_[code]);
    else
      add_bytes(bytes, symbols);
  }

  void add_bytes(std::string_view bytes, std::vector<TokenId>& symbols) const {
    if (spec_.byte_fallback && has_all_bytes_) {
      for (const char c : bytes) symbols.push_back(byte_ids_[static_cast<uint8_t>(c)]);
    } else if (spec_.unk) {
      symbols.push_back(*spec_.unk);
    }
  }

  /// A run of unknown characters is one unknown token.
  void append_fused(std::span<const TokenId> symbols, std::vector<TokenId>& out) const {
    for (const TokenId id : symbols)
      if (id != spec_.unk || out.empty() || out.back() != id) out.push_back(id);
  }

  bool cut_words_;
  Merges merges_;
  std::array<TokenId, 256> byte_ids_;
  bool has_all_bytes_ = false;
  std::vector<TokenId> char_ids_;  ///< by code, up to the highest one that is a token; -1: none
  uint32_t owner_;
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> make_spm_bpe(TokenizerSpec spec) {
  const TokenIndex index = index_tokens(spec.tokens);
  if (spec.merges_by_rank) {
    auto rules = rules_by_rank(spec, index);
    if (!rules) return std::unexpected(std::move(rules.error()));
    return std::make_shared<SpmBpe>(std::move(spec), std::move(*rules));
  }
  for (size_t i = 0; i < spec.tokens.size(); ++i)
    if (!std::isfinite(spec.tokens[i].score))
      return fail(ErrorCode::data_loss,
                  "the score of token " + std::to_string(i) +
                      " is not a finite number: the file is damaged, fetch it again");
  auto rules = rules_by_score(spec, index);
  return std::make_shared<SpmBpe>(std::move(spec), std::move(rules));
}

}  // namespace troupe
