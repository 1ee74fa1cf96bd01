// What the bridge and the admin port read from request headers. Pure.
#pragma once

#include <string>
#include <string_view>

#include "cluster/messages.h"
#include "net/http_message.h"

namespace troupe {

/// The client's X-Request-Id if it matches [A-Za-z0-9._-]{1,64}, else a fresh random one.
std::string request_id_of(const HttpRequest& request);

/// W3C `traceparent`; zero when absent or malformed.
TraceContext trace_context_of(const HttpRequest& request);

/// A browser says where a page came from; a page from elsewhere must not use this port, also not
/// under a name that was made to point here. True when no Origin was sent, or when its host and the
/// asked one are each a loopback name or the address the client reached us at.
bool origin_allowed(const HttpRequest& request);

/// The host of "name:port", "[::1]:port" or "http://name:port"; lower case.
std::string host_of(std::string_view authority);
bool is_loopback_name(std::string_view host);

}  // namespace troupe
