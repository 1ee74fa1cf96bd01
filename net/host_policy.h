// Which names the bridge goes by. A browser tells a server the name it was asked for (Host) and
// where a page came from (Origin): a page from elsewhere must not use this port, also not under a
// name that was made to point here (DNS rebinding). Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "config/host_port.h"
#include "net/http_message.h"

namespace troupe {

struct HostPolicy {
  /// Beside loopback names and the address a client reached us at, in the form of parse_host();
  /// port 0: any.
  std::vector<HostPort> hosts;
  /// Whether the Host of requests without an Origin counts too. It has to where only this machine
  /// is meant to get in, and it doesn't where any name may lead here.
  enum class HostOf : uint8_t { all_requests, pages } asked = HostOf::all_requests;
  bool operator==(const HostPolicy&) const = default;
};

/// Why a request is refused, as an answer with status 403; none: it is meant for us. No Host at all
/// is no browser's, and a Host in digits can't have been made to point here.
std::optional<HttpResponse> refuse_host(const HostPolicy& policy, const HttpRequest& request);

}  // namespace troupe
