// The shapes OpenAI clients expect, made from what the Router delivers: whole bodies, SSE events,
// log-probabilities, usage, timings. Pure: no clock, no socket.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cluster/router.h"
#include "net/openai_request.h"

namespace troupe {

/// A prompt as it is shown before its answers.
struct EchoedPrompt {
  std::string text;
  std::vector<TokenId> tokens;  ///< with logprobs only
};

/// What answers to one request have in common. Choices of all its prompts are counted through:
/// index = prompt * n + choice, as in OpenAI's API.
struct AnswerInfo {
  Api api = Api::chat;
  RequestId id;
  std::string model;
  int64_t created = 0;  ///< Unix seconds
  int32_t prompts = 1;
  int32_t choices = 1;  ///< n: of each prompt
  bool logprobs = false, include_usage = false, echo = false;
  bool hide_answer = false;          ///< max_tokens 0: only the echoed prompt is shown
  std::vector<EchoedPrompt> echoed;  ///< one a prompt; echo only
  std::shared_ptr<const Tokenizer> tokenizer;

  int32_t indices() const { return prompts * choices; }
  size_t prompt_of(int32_t index) const { return static_cast<size_t>(index / choices); }
};

/// The blocks `usage` and `timings` of an answer, as JSON objects.
void append_usage(std::string& out, const Timings& timings);
void append_timings(std::string& out, const Timings& timings);

/// "chatcmpl-<32 hex>", "cmpl-<32 hex>".
std::string answer_id(const AnswerInfo& info);

/// Tokens of one choice with their log-probabilities; offsets run over what came before.
class LogprobsWriter {
 public:
  explicit LogprobsWriter(const AnswerInfo& info) : info_(&info) {}
  /// One JSON value in the shape of the API. The first prompt token has none: `from_prompt` says
  /// these are prompt tokens, logprobs then belong to tokens[1..].
  void append(std::string& out, const std::vector<TokenId>& prompt,
              const std::vector<LogProbs>& prompt_logprobs, const std::vector<TokenId>& tokens,
              const std::vector<LogProbs>& logprobs);

 private:
  void append_chat(std::string& out, const std::vector<TokenId>& tokens,
                   const std::vector<LogProbs>& logprobs) const;

  const AnswerInfo* info_;
  size_t offset_ = 0;  ///< characters of the text so far
};

/// Collects a whole answer. Takes deliveries as AnswerParts::join() leaves them: choices counted
/// through, prompt_logprobs of the prompt that the first piece is of, `last` once.
class WholeAnswer {
 public:
  explicit WholeAnswer(AnswerInfo info);
  void add(const router_out::Deliver& delivery);
  /// After the last delivery.
  std::string body() const;

 private:
  struct Choice {
    std::string text;
    std::vector<TokenId> tokens;
    std::vector<LogProbs> logprobs;
    Finish finish = Finish::none;
  };
  void append_choice(std::string& out, size_t index) const;
  std::string inference_body() const;

  AnswerInfo info_;
  std::vector<Choice> choices_;
  std::vector<std::vector<LogProbs>> prompt_logprobs_;  ///< by prompt
  Timings timings_;
};

/// Turns deliveries, joined as for WholeAnswer, into SSE events: one a piece, role first,
/// finish_reason last, then usage if wanted, then [DONE].
class StreamedAnswer {
 public:
  explicit StreamedAnswer(AnswerInfo info);
  StreamedAnswer(const StreamedAnswer&) = delete;
  StreamedAnswer& operator=(const StreamedAnswer&) = delete;

  void append(std::string& out, const router_out::Deliver& delivery);
  /// In band, for after the first byte: the error, then [DONE].
  void append_error(std::string& out, const Error& error) const;

 private:
  struct Choice {
    bool opened = false;
    LogprobsWriter logprobs;
  };
  void append_piece(std::string& out, const router_out::Piece& piece);
  void append_event(std::string& out, int32_t choice, std::string_view text,
                    std::string_view logprobs, std::string_view finish);

  AnswerInfo info_;
  std::string head_;  ///< up to the index of the choice
  std::string open_;  ///< from there to the text
  std::string tail_;  ///< what follows the choices, without the closing brace
  std::vector<Choice> choices_;
  std::vector<std::vector<LogProbs>> prompt_logprobs_;  ///< by prompt: choices open at any time
  int32_t finished_ = 0;
  std::string last_event_;  ///< the last finish_reason, without its end: timings go into it
};

}  // namespace troupe
