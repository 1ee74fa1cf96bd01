// What the two byte-pair tokenizers share: the spec, the bytes of each token, added tokens.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/text/merges.h"
#include "model/text/text_splitter.h"
#include "model/tokenizer.h"

namespace troupe {

/// Token texts, looked up by text. Views the spec it was made from.
using TokenIndex = std::unordered_map<std::string_view, TokenId>;

/// Of equal texts the last one counts.
TokenIndex index_tokens(const std::vector<TokenEntry>& tokens);

/// Merge rules of a spec as ids. data_loss if one names a text that is no token.
Result<std::vector<Merges::Rule>> rules_by_rank(const TokenizerSpec& spec, const TokenIndex& index);

/// Bytes of every token, in one block.
class TokenBytes {
 public:
  void add(std::string_view bytes);
  /// Empty for ids outside the vocabulary.
  std::string_view of(TokenId token) const;

 private:
  std::string block_;
  std::vector<size_t> ends_;
};

class BpeBase : public Tokenizer {
 public:
  std::vector<TokenId> encode(std::string_view text, SpecialText special) const final;
  std::string_view bytes_of(TokenId token) const final { return bytes_.of(token); }
  const TokenizerSpec& spec() const final { return spec_; }

 protected:
  explicit BpeBase(TokenizerSpec spec) : spec_(std::move(spec)), splitter_(spec_) {}

  /// Appends the tokens of valid UTF-8 text in which no added token is left.
  virtual void encode_text(std::string_view text, std::vector<TokenId>& out) const = 0;
  /// Appends the tokens of bytes that are not UTF-8.
  virtual void encode_bytes(std::string_view bytes, std::vector<TokenId>& out) const = 0;

  const TokenizerSpec spec_;
  TokenBytes bytes_;

 private:
  TextSplitter splitter_;
};

}  // namespace troupe
