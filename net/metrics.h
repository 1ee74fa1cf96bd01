// The request metrics of a router process in Prometheus text form: troupe_* names with base units,
// and `vllm:` aliases so that dashboards and autoscalers made for vLLM work. Observe on one thread;
// labels never hold ids.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "cluster/router.h"
#include "net/bridge.h"
#include "net/http_server.h"

namespace troupe {

enum class MetricsCompat { vllm, none };

class Metrics {
 public:
  Metrics(std::string_view build, std::string_view node);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  /// An answer was begun with this status; 499: the client left before.
  void answered(std::string_view route, int status);
  void first_token(std::string_view model, Duration since_arrival);
  void next_tokens(std::string_view model, Duration gap, size_t tokens);
  /// The last token was delivered.
  void finished(std::string_view model, Finish finish, Duration since_arrival,
                const Timings& timings);
  /// Ended with an error after it was accepted.
  void failed(std::string_view model, ErrorCode code);

  std::string render(const BridgeState& state, const HttpServerStats& server,
                     MetricsCompat compat) const;

 private:
  struct Series;
  std::unique_ptr<Series> series_;
};

}  // namespace troupe
