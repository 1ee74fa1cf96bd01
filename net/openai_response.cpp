#include "net/openai_response.h"

#include <fmt/format.h>

#include <cmath>
#include <iterator>

#include "net/http_message.h"
#include "net/json_writer.h"

namespace troupe {
namespace {

std::string_view finish_name(Finish finish) {
  switch (finish) {
    case Finish::none:
      return {};
    case Finish::stop:
      return "stop";
    case Finish::length:
      return "length";
    case Finish::cancelled:
      return "abort";
  }
  return {};
}

std::string_view object_name(Api api, std::string_view chat, std::string_view text) {
  return api == Api::chat ? chat : text;
}

size_t characters(std::string_view bytes) {
  size_t count = 0;
  for (char c : bytes) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return count;
}

/// JSON has no -inf; OpenAI writes this for "practically impossible".
double printable(float logprob) { return std::isfinite(logprob) ? logprob : -9999.0; }

/// Log-probabilities of a prompt come with the first pieces of its answers.
void remember(std::vector<std::vector<LogProbs>>& by_prompt, const AnswerInfo& info,
              const router_out::Deliver& delivery) {
  if (delivery.prompt_logprobs.empty() || delivery.pieces.empty()) return;
  by_prompt.at(info.prompt_of(delivery.pieces.front().choice)) = delivery.prompt_logprobs;
}

const std::vector<TokenId>& echoed_tokens(const AnswerInfo& info, size_t prompt) {
  static const std::vector<TokenId> kNone;
  return info.echo ? info.echoed.at(prompt).tokens : kNone;
}

std::string usage_json(const Timings& timings) {
  std::string out;
  append_usage(out, timings);
  return out;
}
std::string timings_json(const Timings& timings) {
  std::string out;
  append_timings(out, timings);
  return out;
}

}  // namespace

void append_usage(std::string& out, const Timings& timings) {
  JsonWriter(out)
      .begin_object()
      .field("prompt_tokens", int64_t{timings.prompt_tokens})
      .field("completion_tokens", int64_t{timings.generated_tokens})
      .field("total_tokens", int64_t{timings.prompt_tokens} + timings.generated_tokens)
      .key("prompt_tokens_details")
      .begin_object()
      .field("cached_tokens", int64_t{timings.cached_tokens})
      .end_object()
      .end_object();
}

void append_timings(std::string& out, const Timings& timings) {
  auto ms = [](Duration d) { return std::round(to_seconds(d) * 1e6) / 1e3; };
  JsonWriter json(out);
  json.begin_object()
      .key("queue_ms")
      .real(ms(timings.queue))
      .key("prefill_ms")
      .real(ms(timings.prefill));
  json.key("ttft_ms").real(ms(timings.ttft)).key("decode_ms").real(ms(timings.decode));
  json.field("prompt_tokens", int64_t{timings.prompt_tokens});
  json.field("cached_tokens", int64_t{timings.cached_tokens});
  json.field("generated_tokens", int64_t{timings.generated_tokens});
  json.field("attempts", int64_t{timings.attempts}).end_object();
}

std::string answer_id(const AnswerInfo& info) {
  return std::string(object_name(info.api, "chatcmpl-", "cmpl-")) + to_string(info.id);
}

// -- log-probabilities
// --------------------------------------------------------------------------------------------

void LogprobsWriter::append_chat(std::string& out, const std::vector<TokenId>& tokens,
                                 const std::vector<LogProbs>& logprobs) const {
  JsonWriter json(out);
  auto token = [&](int32_t id, float logprob) {
    const TokenId one[] = {TokenId(id)};
    json.field("token", info_->tokenizer->decode(one)).key("logprob").real(printable(logprob));
    json.key("bytes").begin_array();
    for (char byte : info_->tokenizer->bytes_of(TokenId(id)))
      json.integer(static_cast<unsigned char>(byte));
    json.end_array();
  };
  json.begin_object().key("content").begin_array();
  for (size_t i = 0; i < tokens.size() && i < logprobs.size(); ++i) {
    json.begin_object();
    token(tokens[i].value, logprobs[i].logprob);
    json.key("top_logprobs").begin_array();
    for (const TokenLogprob& other : logprobs[i].top) {
      json.begin_object();
      token(other.token, other.logprob);
      json.end_object();
    }
    json.end_array().end_object();
  }
  json.end_array().end_object();
}

void LogprobsWriter::append(std::string& out, const std::vector<TokenId>& prompt,
                            const std::vector<LogProbs>& prompt_logprobs,
                            const std::vector<TokenId>& tokens,
                            const std::vector<LogProbs>& logprobs) {
  if (info_->api == Api::chat) return append_chat(out, tokens, logprobs);
  std::string texts, values, tops, offsets;
  JsonWriter text(texts), value(values), top(tops), offset(offsets);
  auto add = [&](TokenId id, const LogProbs* logprob) {
    const TokenId one[] = {id};
    text.string(info_->tokenizer->decode(one));
    offset.integer(static_cast<int64_t>(offset_));
    offset_ += characters(info_->tokenizer->bytes_of(id));
    if (!logprob) {
      value.null();
      top.null();
      return;
    }
    value.real(printable(logprob->logprob));
    top.begin_object();
    for (const TokenLogprob& other : logprob->top) {
      const TokenId token[] = {TokenId(other.token)};
      top.key(info_->tokenizer->decode(token)).real(printable(other.logprob));
    }
    top.end_object();
  };
  for (size_t i = 0; i < prompt.size(); ++i)
    add(prompt[i], i > 0 && i - 1 < prompt_logprobs.size() ? &prompt_logprobs[i - 1] : nullptr);
  for (size_t i = 0; i < tokens.size() && i < logprobs.size(); ++i) add(tokens[i], &logprobs[i]);
  fmt::format_to(
      std::back_inserter(out),
      R"({{"text_offset":[{}],"token_logprobs":[{}],"tokens":[{}],"top_logprobs":[{}]}})", offsets,
      values, texts, tops);
}

// -- whole answers
// ------------------------------------------------------------------------------------------------

WholeAnswer::WholeAnswer(AnswerInfo info)
    : info_(std::move(info)),
      choices_(static_cast<size_t>(info_.indices())),
      prompt_logprobs_(static_cast<size_t>(info_.prompts)) {}

void WholeAnswer::add(const router_out::Deliver& delivery) {
  remember(prompt_logprobs_, info_, delivery);
  for (const router_out::Piece& piece : delivery.pieces) {
    Choice& choice = choices_.at(static_cast<size_t>(piece.choice));
    if (!info_.hide_answer) {
      choice.text += piece.text;
      choice.tokens.insert(choice.tokens.end(), piece.tokens.begin(), piece.tokens.end());
      choice.logprobs.insert(choice.logprobs.end(), piece.logprobs.begin(), piece.logprobs.end());
    }
    if (piece.finish != Finish::none) choice.finish = piece.finish;
  }
  if (!delivery.last) return;
  timings_ = delivery.timings;
  if (info_.hide_answer) timings_.generated_tokens = 0;
}

void WholeAnswer::append_choice(std::string& out, size_t index) const {
  const Choice& choice = choices_[index];
  const size_t prompt = info_.prompt_of(static_cast<int32_t>(index));
  JsonWriter json(out);
  json.begin_object().field("index", static_cast<int64_t>(index));
  if (info_.api == Api::chat)
    json.key("message")
        .begin_object()
        .field("role", "assistant")
        .field("content", choice.text)
        .end_object();
  else
    json.field("text", info_.echo ? info_.echoed.at(prompt).text + choice.text : choice.text);
  json.key("logprobs");
  if (info_.logprobs) {
    std::string logprobs;
    LogprobsWriter(info_).append(logprobs, echoed_tokens(info_, prompt), prompt_logprobs_[prompt],
                                 choice.tokens, choice.logprobs);
    json.raw(logprobs);
  } else {
    json.null();
  }
  json.field("finish_reason", finish_name(choice.finish)).end_object();
}

std::string WholeAnswer::body() const {
  if (info_.api == Api::inference) return inference_body();
  std::string out;
  JsonWriter json(out);
  json.begin_object().field("id", answer_id(info_));
  json.field("object", object_name(info_.api, "chat.completion", "text_completion"));
  json.field("created", info_.created).field("model", info_.model).key("choices").begin_array();
  for (size_t i = 0; i < choices_.size(); ++i) {
    std::string choice;
    append_choice(choice, i);
    json.raw(choice);
  }
  json.end_array().key("usage").raw(usage_json(timings_));
  json.key("timings").raw(timings_json(timings_)).end_object();
  return out;
}

std::string WholeAnswer::inference_body() const {
  std::string out;
  JsonWriter json(out);
  json.begin_object().key("predictions").begin_array();
  double sum = 0;
  size_t count = 0;
  for (const Choice& choice : choices_) {
    json.begin_object()
        .field("text", choice.text)
        .field("finish_reason", finish_name(choice.finish))
        .end_object();
    for (const LogProbs& logprob : choice.logprobs) sum += printable(logprob.logprob);
    count += choice.logprobs.size();
  }
  json.end_array().key("confidence");
  if (count > 0)
    json.real(std::exp(sum / static_cast<double>(count)));
  else
    json.null();
  json.key("usage").raw(usage_json(timings_));
  json.field("request_id", to_string(info_.id)).field("model", info_.model);
  json.key("timings").raw(timings_json(timings_)).end_object();
  return out;
}

// -- streams
// ------------------------------------------------------------------------------------------------------

StreamedAnswer::StreamedAnswer(AnswerInfo info)
    : info_(std::move(info)), prompt_logprobs_(static_cast<size_t>(info_.prompts)) {
  head_ = "data: ";
  JsonWriter json(head_);
  json.begin_object().field("id", answer_id(info_));
  json.field("object", object_name(info_.api, "chat.completion.chunk", "text_completion"));
  json.field("created", info_.created).field("model", info_.model);
  head_ += R"(,"choices":[)";
  open_ = info_.api == Api::chat ? R"(,"delta":{"content":")" : R"(,"text":")";
  tail_ = info_.include_usage ? R"(],"usage":null)" : "]";
  for (int32_t i = 0; i < info_.indices(); ++i) choices_.push_back({false, LogprobsWriter(info_)});
}

void StreamedAnswer::append_event(std::string& out, int32_t choice, std::string_view text,
                                  std::string_view logprobs, std::string_view finish) {
  out += head_;
  fmt::format_to(std::back_inserter(out), R"({{"index":{})", choice);
  if (info_.api == Api::chat && !finish.empty()) {
    out += R"(,"delta":{},"logprobs":null)";
  } else {
    out += open_;
    append_json_escaped(out, text);
    out += info_.api == Api::chat ? R"("},"logprobs":)" : R"(","logprobs":)";
    out += logprobs.empty() ? "null" : logprobs;
  }
  if (finish.empty())
    out += R"(,"finish_reason":null})";
  else
    fmt::format_to(std::back_inserter(out), R"(,"finish_reason":"{}"}})", finish);
  out += tail_;
}

void StreamedAnswer::append_piece(std::string& out, const router_out::Piece& piece) {
  Choice& choice = choices_.at(static_cast<size_t>(piece.choice));
  std::string logprobs;
  if (!choice.opened) {
    choice.opened = true;
    if (info_.api == Api::chat) {
      out += head_;
      fmt::format_to(
          std::back_inserter(out),
          R"({{"index":{},"delta":{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}})",
          piece.choice);
      out += tail_;
      out += "}\n\n";
    } else if (info_.echo) {
      const size_t prompt = info_.prompt_of(piece.choice);
      if (info_.logprobs)
        choice.logprobs.append(logprobs, echoed_tokens(info_, prompt), prompt_logprobs_[prompt], {},
                               {});
      append_event(out, piece.choice, info_.echoed.at(prompt).text, logprobs, {});
      out += "}\n\n";
      logprobs.clear();
    }
  }
  const bool show_logprobs = info_.logprobs && !piece.logprobs.empty();
  if (show_logprobs) choice.logprobs.append(logprobs, {}, {}, piece.tokens, piece.logprobs);
  if (!piece.text.empty() || show_logprobs) {
    append_event(out, piece.choice, piece.text, logprobs, {});
    out += "}\n\n";
  }
  if (piece.finish == Finish::none) return;
  ++finished_;
  std::string& into = finished_ == info_.indices() ? last_event_ : out;
  append_event(into, piece.choice, {}, {}, finish_name(piece.finish));
  if (finished_ != info_.indices()) out += "}\n\n";
}

void StreamedAnswer::append(std::string& out, const router_out::Deliver& delivery) {
  remember(prompt_logprobs_, info_, delivery);
  for (const router_out::Piece& piece : delivery.pieces) append_piece(out, piece);
  if (!delivery.last) return;
  std::string ending = R"(,"timings":)";
  append_timings(ending, delivery.timings);
  ending += "}\n\n";
  out += last_event_;
  if (info_.include_usage) {
    if (!last_event_.empty()) out += "}\n\n";
    out += head_;
    out += R"(],"usage":)";
    append_usage(out, delivery.timings);
    out += ending;
  } else if (!last_event_.empty()) {
    out += ending;
  }
  last_event_.clear();
  out += "data: [DONE]\n\n";
}

void StreamedAnswer::append_error(std::string& out, const Error& error) const {
  out += "data: ";
  out += error_body(error);
  out += "\n\ndata: [DONE]\n\n";
}

}  // namespace troupe
