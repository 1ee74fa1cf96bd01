// Tokens of one choice to text as it may be shown: never part of a UTF-8 character, and never text
// that might still turn out to be the start of a stop string. Pure; owned by the Router machine,
// one a choice.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/ids.h"
#include "model/tokenizer.h"

namespace troupe {

class LossyUtf8;

class TextStream {
 public:
  /// `stops`: at most kStopStringsMax, of at most kStopStringBytesMax bytes each; empty ones are
  /// ignored. The text goes on after a prompt, so the space prefix of SentencePiece models is not
  /// removed.
  TextStream(std::shared_ptr<const Tokenizer> tokenizer, std::vector<std::string> stops);
  ~TextStream();
  TextStream(TextStream&&) noexcept;
  TextStream& operator=(TextStream&&) noexcept;

  struct Piece {
    std::string text;  ///< to show now; may be empty
    bool stopped =
        false;  ///< a stop string was completed: `text` ends before it, further tokens are ignored
  };
  /// Adds one token. The stop string that is complete first ends the text (of two that end at the
  /// same place the longer one), however the text is cut into tokens.
  Piece push(TokenId token);
  /// No more tokens: gives what was held back (an unfinished character becomes U+FFFD).
  std::string finish();

  /// All text shown so far, without what is held back. For logprob offsets.
  size_t shown_bytes() const { return shown_; }
  bool stopped() const { return stopped_; }

 private:
  Piece take(size_t searched);

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<std::string> stops_;
  std::unique_ptr<LossyUtf8> characters_;  ///< holds back at most 3 bytes
  std::string held_;                       ///< between calls shorter than the longest stop string
  size_t shown_ = 0;
  bool stopped_ = false;
};

}  // namespace troupe
