#include "net/open_request.h"

#include <algorithm>
#include <cmath>

#include "net/random.h"

namespace troupe {

std::string_view header_value(CacheOutcome outcome) {
  switch (outcome) {
    case CacheOutcome::not_cacheable:
      return {};
    case CacheOutcome::miss:
      return "miss";
    case CacheOutcome::hit_memory:
      return "hit-memory";
    case CacheOutcome::hit_redis:
      return "hit-redis";
    case CacheOutcome::hit_disk:
      return "hit-disk";
    case CacheOutcome::coalesced:
      return "coalesced";
  }
  return {};
}

HttpResponse failure_response(const router_out::Fail& failure) {
  HttpResponse response = error_response(failure.error);
  if (failure.retry_after <= Duration::zero()) return response;
  // Clients that were refused together must not come back together.
  const double jitter = 1 + 0.5 * static_cast<double>(random_bits() % 1000) / 1000;
  const auto seconds = std::max<int64_t>(1, std::llround(to_seconds(failure.retry_after) * jitter));
  response.headers = {{"Retry-After", std::to_string(seconds)}};
  return response;
}

HttpResponse stream_head(const std::string& request_id) {
  HttpResponse head;
  head.content_type = "text/event-stream";
  head.headers = {
      {"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}, {"X-Request-Id", request_id}};
  return head;
}

OpenRequest::OpenRequest(AnswerInfo info, AnswerShape shape, AnswerParts parts,
                         std::shared_ptr<HttpReply> reply, std::string request_id, Time arrived,
                         std::unique_ptr<AnswerRecord> record)
    : api_(info.api),
      id_(info.id),
      hide_answer_(info.hide_answer),
      model_(info.model),
      request_id_(std::move(request_id)),
      parts_(std::move(parts)),
      reply_(std::move(reply)),
      record_(std::move(record)),
      arrived_(arrived),
      last_token_(arrived) {
  if (shape == AnswerShape::stream)
    stream_.emplace(std::move(info));
  else
    whole_.emplace(std::move(info));
}

std::string_view OpenRequest::route() const {
  switch (api_) {
    case Api::chat:
      return "/v1/chat/completions";
    case Api::completions:
      return "/v1/completions";
    case Api::inference:
      return "/v1/inference";
  }
  return {};
}

void OpenRequest::observe(const router_out::Deliver& delivery, Time now, Metrics& metrics) {
  size_t tokens = 0;
  for (const router_out::Piece& piece : delivery.pieces) {
    tokens += piece.tokens.size();
    if (piece.finish != Finish::none) finish_ = piece.finish;
  }
  if (tokens > 0) {
    if (any_token_)
      metrics.next_tokens(model_, now - last_token_, tokens);
    else
      metrics.first_token(model_, now - arrived_);
    any_token_ = true;
    last_token_ = now;
  }
  if (delivery.last) metrics.finished(model_, finish_, now - arrived_, delivery.timings);
}

void OpenRequest::start_stream(Metrics& metrics) {
  if (std::exchange(head_sent_, true)) return;
  HttpResponse head = stream_head(request_id_);
  const auto cache = parts_.cache();
  // Not known by now only where a part fills the buffer while another still waits for its tier.
  if (const auto value = header_value(cache.value_or(CacheOutcome::miss)); !value.empty())
    head.headers.push_back({"X-Cache", std::string(value)});
  if (told_inexact_) head.headers.push_back({"X-Troupe-Continuity", "inexact"});
  metrics.answered(route(), head.status);
  reply_->start_stream(std::move(head), kSseIdle, kSseKeepAlive);
}

void OpenRequest::respond(HttpResponse response, Metrics& metrics) {
  response.headers.push_back({"X-Request-Id", request_id_});
  metrics.answered(route(), response.status);
  reply_->respond(std::move(response));
}

void OpenRequest::deliver(router_out::Deliver delivery, Time now, Metrics& metrics) {
  parts_.join(delivery);
  observe(delivery, now, metrics);
  if (stream_) return stream(delivery, metrics);
  told_inexact_ |= delivery.inexact;
  whole_->add(delivery);
  if (!delivery.last) return;
  HttpResponse response;
  response.body = whole_->body();
  if (record_) record_->add(response.body);
  keep(delivery);
  if (const auto cache = parts_.cache(); cache && !header_value(*cache).empty())
    response.headers.push_back({"X-Cache", std::string(header_value(*cache))});
  if (told_inexact_) response.headers.push_back({"X-Troupe-Continuity", "inexact"});
  respond(std::move(response), metrics);
}

void OpenRequest::stream(const router_out::Deliver& delivery, Metrics& metrics) {
  std::string events;
  if (delivery.inexact && !std::exchange(told_inexact_, true) && head_sent_)
    events += ": continuity inexact\n\n";
  stream_->append(events, delivery);
  if (record_) record_->add(events);
  if (!head_sent_) {
    early_ += events;
    // Nothing to show yet, or a tier still to be heard of: an error can still be a status.
    if (early_.empty() || (!parts_.cache() && early_.size() < kStreamBufferBytesMax / 2)) return;
    start_stream(metrics);
    reply_->write(std::exchange(early_, {}));
  } else {
    reply_->write(events);
  }
  if (!delivery.last) return;
  reply_->finish();
  keep(delivery);
}

void OpenRequest::keep(const router_out::Deliver& delivery) {
  if (!record_ || !delivery.keep) return;
  Timings timings = delivery.timings;
  if (hide_answer_) timings.generated_tokens = 0;
  record_->keep(id_, finish_, timings);
}

void OpenRequest::fail(const router_out::Fail& failure, Metrics& metrics) {
  if (std::exchange(failed_, true)) return;
  metrics.failed(model_, failure.error.code);
  if (!head_sent_) return respond(failure_response(failure), metrics);
  std::string events;
  stream_->append_error(events, failure.error);
  reply_->write(events);
  reply_->finish();
}

void OpenRequest::tick(Time now, Metrics& metrics) {
  if (stream_ && !head_sent_ && parts_.cache() && now - arrived_ >= kStreamHeadDelay)
    start_stream(metrics);
}

void OpenRequest::gone(Metrics& metrics) {
  metrics.failed(model_, ErrorCode::cancelled);
  if (!head_sent_) metrics.answered(route(), 499);
}

}  // namespace troupe
