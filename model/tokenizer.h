// Text to tokens and back. Immutable after make(); any number of threads may use one object
// (per-call scratch is thread-local). Byte-level BPE (Sennrich et al. 2016; GPT-2) and
// SentencePiece-style BPE.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/ids.h"
#include "config/result.h"
#include "model/tokenizer_spec.h"

namespace troupe {

/// Whether special-token text in the input becomes special tokens (a rendered chat template) or
/// stays plain text (what a user wrote).
enum class SpecialText : uint8_t { parse, plain };

class Tokenizer {
 public:
  /// Checks the spec: sizes, ids in range, patterns that compile. One sentence on failure.
  static Result<std::shared_ptr<const Tokenizer>> make(TokenizerSpec spec);
  virtual ~Tokenizer() = default;

  /// `text` must be valid UTF-8 (the bridge refuses other input); invalid bytes are tokenised as
  /// bytes where the vocabulary can, never a crash. Does not add bos/eos; see with_bos_eos().
  virtual std::vector<TokenId> encode(std::string_view text, SpecialText special) const = 0;

  /// Bytes that `token` adds to the text when it follows others (a leading U+2581 is a space).
  /// Empty for control tokens. Not necessarily whole UTF-8 characters: see TextStream.
  virtual std::string_view bytes_of(TokenId token) const = 0;

  virtual const TokenizerSpec& spec() const = 0;
  int32_t vocab() const { return static_cast<int32_t>(spec().tokens.size()); }

  /// Adds bos/eos where the model asks for them.
  std::vector<TokenId> with_bos_eos(std::vector<TokenId> tokens) const;
  /// Text of all tokens together; the first one's space prefix is removed where the model adds one.
  /// Invalid UTF-8 becomes U+FFFD. Control tokens give nothing.
  std::string decode(std::span<const TokenId> tokens) const;
  bool ends_generation(TokenId token) const;
};

/// The oracle backend's vocabulary: 4,096 tokens; 0 = end, 1-255 single bytes, others short ASCII
/// words.
TokenizerSpec oracle_tokenizer_spec();

}  // namespace troupe
