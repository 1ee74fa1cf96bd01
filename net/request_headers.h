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

}  // namespace troupe
