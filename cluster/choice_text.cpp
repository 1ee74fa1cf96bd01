#include "cluster/choice_text.h"

#include <utility>

namespace troupe {

ChoiceText::ChoiceText(std::shared_ptr<const Tokenizer> tokenizer,
                       std::vector<std::string> stop_strings, int32_t choice)
    : tokenizer_(tokenizer),
      stream_(std::move(tokenizer), std::move(stop_strings)),
      choice_(choice) {}

router_out::Piece ChoiceText::empty_piece() const {
  router_out::Piece piece;
  piece.choice = choice_;
  return piece;
}

router_out::Piece ChoiceText::push(TokenId token) {
  router_out::Piece piece = empty_piece();
  TextStream::Piece shown = stream_.push(token);
  piece.text = std::move(shown.text);
  piece.tokens.push_back(token);
  piece.offsets.push_back(bytes_);
  bytes_ += tokenizer_->bytes_of(token).size();
  if (shown.stopped) piece.finish = Finish::stop;
  return piece;
}

void ChoiceText::finish(Finish why, router_out::Piece& piece) {
  piece.text += stream_.finish();
  piece.finish = why;
}

std::vector<router_out::Piece> replay(const ClientRequest& request, int32_t choice,
                                      std::span<const TokenId> tokens,
                                      std::span<const LogProbs> logprobs, Finish finish) {
  ChoiceText text(request.tokenizer, request.stop_strings, choice);
  std::vector<router_out::Piece> pieces;
  pieces.reserve(tokens.size() + 1);
  for (size_t i = 0; i < tokens.size(); ++i) {
    pieces.push_back(text.push(tokens[i]));
    if (i < logprobs.size()) pieces.back().logprobs.push_back(logprobs[i]);
    if (pieces.back().finish != Finish::none) return pieces;
  }
  if (finish == Finish::none) return pieces;
  if (pieces.empty()) pieces.push_back(text.empty_piece());
  text.finish(finish, pieces.back());
  return pieces;
}

bool fits(const ClientRequest& request, const CachedResponse& response) {
  if (response.choices.size() != static_cast<size_t>(request.choices)) return false;
  if (request.score_prompt && response.prompt_logprobs.size() + 1 < request.prompt.size())
    return false;
  for (const CachedChoice& choice : response.choices) {
    if (choice.finish != Finish::stop && choice.finish != Finish::length) return false;
    if (choice.tokens.size() > static_cast<size_t>(request.max_new)) return false;
    const bool with_logprobs = request.sampling.n_logprobs >= 0;
    if (choice.logprobs.size() != (with_logprobs ? choice.tokens.size() : 0)) return false;
    for (TokenId token : choice.tokens)
      if (token.value < 0 || token.value >= request.tokenizer->vocab()) return false;
  }
  return true;
}

}  // namespace troupe
