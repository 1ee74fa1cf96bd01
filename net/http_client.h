// A small blocking HTTP/1.1 client for the command line: JSON calls and server-sent events, with
// one deadline for the whole call. http:// only (https is for clients with a certificate store).
// One call at a time per object.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/host_port.h"
#include "config/result.h"
#include "config/time.h"

namespace troupe {

struct ClientResponse {
  int status = 0;
  std::string body;  ///< <= 64 MiB, more is an error
};

class HttpClient {
 public:
  /// `url`: "http://host:port". `token`: sent as a bearer token if not empty.
  static Result<HttpClient> make(std::string_view url, std::string token = {});

  /// unavailable if nobody answers, deadline_exceeded; any HTTP status is a response.
  Result<ClientResponse> get(std::string_view path, Duration timeout) const;
  Result<ClientResponse> post(std::string_view path, std::string_view json, Duration timeout) const;

  /// POST; `event` gets the data of each server-sent event in order (without "[DONE]") and returns
  /// false to hang up. A status other than 200 comes back as a response with its body; 200 comes
  /// back empty at the end.
  Result<ClientResponse> stream(std::string_view path, std::string_view json, Duration timeout,
                                const std::function<bool(std::string_view data)>& event) const;

  const HostPort& address() const { return address_; }

 private:
  HttpClient() = default;
  HostPort address_;
  std::string token_;
};

}  // namespace troupe
