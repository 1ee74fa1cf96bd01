// One request of a client between its submission to the Router, in a part a prompt, and the last
// byte to the client. A stream's head goes out with its first event, or after kStreamHeadDelay, but
// not before the Router has told for every part what the response cache had (X-Cache is then true);
// events that come sooner wait, half of kStreamBufferBytesMax at most. Io thread of the bridge.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/time.h"
#include "net/answer_parts.h"
#include "net/answer_record.h"
#include "net/http_server.h"
#include "net/metrics.h"
#include "net/openai_response.h"
#include "net/prepared_request.h"

namespace troupe {

class OpenRequest {
 public:
  /// `record`: where the answer is collected for the response cache; null: it is not.
  OpenRequest(AnswerInfo info, AnswerShape shape, AnswerParts parts,
              std::shared_ptr<HttpReply> reply, std::string request_id, Time arrived,
              std::unique_ptr<AnswerRecord> record);

  /// Of any of its parts.
  void deliver(router_out::Deliver delivery, Time now, Metrics& metrics);
  /// Ends the answer, whatever its other parts do. Only the first failure counts.
  void fail(const router_out::Fail& failure, Metrics& metrics);
  /// Parts that the Router still works on.
  std::vector<RequestId> open_parts() const { return parts_.open(); }
  /// Sends the head of a stream whose first token lets itself be waited for: proxies and clients
  /// then know that the request was accepted. Until kStreamHeadDelay an error can still be a
  /// status.
  void tick(Time now, Metrics& metrics);
  /// The client left.
  void gone(Metrics& metrics);

 private:
  std::string_view route() const;
  void observe(const router_out::Deliver& delivery, Time now, Metrics& metrics);
  void start_stream(Metrics& metrics);
  void stream(const router_out::Deliver& delivery, Metrics& metrics);
  void respond(HttpResponse response, Metrics& metrics);

  void keep(const router_out::Deliver& delivery);

  const Api api_;
  const RequestId id_;
  const bool hide_answer_;
  std::string model_, request_id_;
  AnswerParts parts_;
  std::optional<WholeAnswer> whole_;
  std::optional<StreamedAnswer> stream_;
  std::shared_ptr<HttpReply> reply_;
  std::unique_ptr<AnswerRecord> record_;
  const Time arrived_;
  Time last_token_;
  std::string early_;  ///< events before the head
  bool any_token_ = false, head_sent_ = false, told_inexact_ = false, failed_ = false;
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
