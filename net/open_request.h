// One request between its submission to the Router and the last byte to its client. Io thread of
// the bridge.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "config/time.h"
#include "net/answer_record.h"
#include "net/http_server.h"
#include "net/metrics.h"
#include "net/openai_response.h"
#include "net/prepared_request.h"

namespace troupe {

class OpenRequest {
 public:
  /// `record`: where the answer is collected for the response cache; null: it is not.
  OpenRequest(AnswerInfo info, AnswerShape shape, std::shared_ptr<HttpReply> reply,
              std::string request_id, Time arrived, std::unique_ptr<AnswerRecord> record);

  void deliver(const router_out::Deliver& delivery, Time now, Metrics& metrics);
  void fail(const router_out::Fail& failure, Metrics& metrics);
  /// Sends the head of a stream whose first token lets itself be waited for: proxies and clients
  /// then know that the request was accepted. Until kStreamHeadDelay an error can still be a
  /// status.
  void tick(Time now, Metrics& metrics);
  /// The client left.
  void gone(Metrics& metrics);

 private:
  std::string_view route() const;
  void observe(const router_out::Deliver& delivery, Time now, Metrics& metrics);
  void start_stream(CacheOutcome cache, bool inexact, Metrics& metrics);
  void respond(HttpResponse response, Metrics& metrics);

  void keep(const router_out::Deliver& delivery);

  const Api api_;
  const RequestId id_;
  const bool hide_answer_;
  std::string model_, request_id_;
  std::optional<WholeAnswer> whole_;
  std::optional<StreamedAnswer> stream_;
  std::shared_ptr<HttpReply> reply_;
  std::unique_ptr<AnswerRecord> record_;
  const Time arrived_;
  Time last_token_;
  bool any_token_ = false, head_sent_ = false, told_inexact_ = false;
  CacheOutcome cache_ = CacheOutcome::not_cacheable;
  Finish finish_ = Finish::none;
};

/// The head of an event stream, and what keeps an idle one open.
HttpResponse stream_head(const std::string& request_id);
inline constexpr const char* kSseIdle = ": keep-alive\n\n";
/// "miss", "hit-memory", ...; empty for what is not cacheable.
std::string_view header_value(CacheOutcome outcome);
/// The answer to a request the Router failed before its first byte.
HttpResponse failure_response(const router_out::Fail& failure);

}  // namespace troupe
