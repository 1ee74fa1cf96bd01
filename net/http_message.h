// What an HTTP request and a whole answer are, free of any library. Plain values.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"

namespace troupe {

struct HttpHeader {
  std::string name, value;
};

struct HttpRequest {
  std::string method, path, query;  ///< path and query as sent, without '?'
  std::vector<HttpHeader> headers;
  std::string body;
  std::string peer;   ///< address of the client, no port
  std::string local;  ///< address the client reached us at, no port

  /// Value of the first header of that name (any case); "" if absent.
  std::string_view header(std::string_view name) const;
  /// Value of `name=` in the query, undecoded; nullopt if absent.
  std::optional<std::string_view> query_value(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<HttpHeader> headers;  ///< besides Content-Type, Content-Length, Connection and Date
  std::string body;
};

/// "Not Found" for 404; "Status" for a number nobody knows.
std::string_view reason_phrase(int status);
bool equal_ignoring_case(std::string_view a, std::string_view b);

/// Name, type and status an ErrorCode has on the wire.
struct WireError {
  int status;
  std::string_view type, code;
};
WireError wire_error(ErrorCode code);

/// {"error":{"message","type","param","code"}}, the shape OpenAI clients parse. `code` overrides
/// the usual one.
std::string error_body(const Error& error, std::string_view code = {});
/// An error of HTTP itself (404, 405, 408, 413, 431, ...), final unless 408, 429 or 503.
HttpResponse error_response(int status, std::string message, std::string_view code);
/// An error of a request, with `x-should-retry: false`; its status follows from the code.
HttpResponse error_response(const Error& error, std::string_view code = {});

}  // namespace troupe
