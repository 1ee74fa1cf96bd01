// Tokens of one choice to text as it may be shown: never part of a UTF-8 character, and never text
// that might still turn out to be the start of a stop string. Pure; owned by the Router machine,
// one a choice.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/ids.h"
#include "model/tokenizer.h"

namespace troupe {

class TextStream {
 public:
  /// `stops`: at most kMaxStopStrings non-empty strings. `first_position` is true when the text
  /// starts an answer (then a space prefix of SentencePiece models is not removed: the prompt came
  /// before).
  TextStream(std::shared_ptr<const Tokenizer> tokenizer, std::vector<std::string> stops);

  struct Piece {
    std::string text;  ///< to show now; may be empty
    bool stopped =
        false;  ///< a stop string was completed: `text` ends before it, further tokens are ignored
  };
  /// Adds one token.
  Piece push(TokenId token);
  /// No more tokens: gives what was held back (an unfinished character becomes U+FFFD).
  std::string finish();

  /// All text shown so far, without what is held back. For logprob offsets.
  size_t shown_bytes() const { return shown_; }
  bool stopped() const { return stopped_; }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<std::string> stops_;
  std::string held_;  ///< <= longest stop string + 3 bytes + one token
  size_t shown_ = 0;
  bool stopped_ = false;
};

}  // namespace troupe
