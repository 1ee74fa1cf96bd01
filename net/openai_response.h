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

/// What answers to one request have in common.
struct AnswerInfo {
  Api api = Api::chat;
  RequestId id;
  std::string model;
  int64_t created = 0;  ///< Unix seconds
  int32_t choices = 1;
  bool logprobs = false, include_usage = false, echo = false;
  bool hide_answer = false;     ///< max_tokens 0: only the echoed prompt is shown
  std::string prompt_text;      ///< echo only
  std::vector<TokenId> prompt;  ///< echo with logprobs only
  std::shared_ptr<const Tokenizer> tokenizer;
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

/// Collects a whole answer.
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
  std::vector<LogProbs> prompt_logprobs_;
  Timings timings_;
};

/// Turns deliveries into SSE events: one a piece, role first, finish_reason last, then usage if
/// wanted, then [DONE].
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
  void append_piece(std::string& out, const router_out::Piece& piece,
                    const std::vector<LogProbs>& prompt_logprobs);
  void append_event(std::string& out, int32_t choice, std::string_view text,
                    std::string_view logprobs, std::string_view finish);

  AnswerInfo info_;
  std::string head_;  ///< up to the index of the choice
  std::string open_;  ///< from there to the text
  std::string tail_;  ///< what follows the choices, without the closing brace
  std::vector<Choice> choices_;
  int32_t finished_ = 0;
  std::string last_event_;  ///< the last finish_reason, without its end: timings go into it
};

}  // namespace troupe
