// One choice's tokens to pieces that can be shown: text without held-back parts, offsets, the end
// by a stop string. Pushing the same tokens gives the same pieces, so a follower or a cached answer
// is shown by replay. Pure; owned by the Router machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cluster/router.h"
#include "model/text_stream.h"

namespace troupe {

class ChoiceText {
 public:
  ChoiceText(std::shared_ptr<const Tokenizer> tokenizer, std::vector<std::string> stop_strings,
             int32_t choice);

  /// Adds one token. The piece has finish == stop when a stop string was completed by it; then
  /// nothing may be pushed any more.
  router_out::Piece push(TokenId token);
  /// No more tokens: puts what was held back at the end of `piece`.
  void finish(Finish why, router_out::Piece& piece);
  router_out::Piece empty_piece() const;

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  TextStream stream_;
  int32_t choice_;
  size_t bytes_ = 0;  ///< of all tokens pushed, shown or held back
};

/// Shows the first `n_tokens` of an answer again; with `finish` != none its end too.
std::vector<router_out::Piece> replay(const ClientRequest& request, int32_t choice,
                                      std::span<const TokenId> tokens,
                                      std::span<const LogProbs> logprobs, Finish finish);

/// Whether a cached response can be an answer to `request`: choices, ids within the vocabulary,
/// log-probabilities where they were asked for. One that does not fit is a miss.
bool fits(const ClientRequest& request, const CachedResponse& response);

}  // namespace troupe
