// A small blocking HTTP client for the command line: one call, one connection, a deadline, errors
// in one sentence. Any thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"
#include "config/time.h"
#include "net/http_message.h"

namespace troupe {

struct HttpCall {
  std::string method = "GET";
  std::string
      url;  ///< http://HOST:PORT/PATH or https://...; a loopback host's certificate is not verified
  std::string body;
  std::vector<HttpHeader> headers;  ///< e.g. Authorization
  Duration deadline = 30s;          ///< for the whole call; of a stream: for each silence
};

struct HttpAnswer {
  int status = 0;
  std::vector<HttpHeader> headers;
  std::string body;
};

/// Any status is an answer; an error means there was none. At most kHttpAnswerBytesMax of body.
Result<HttpAnswer> http_call(const HttpCall& call);

/// Hands over the data of each server-sent event as it comes ("[DONE]" too). The answer's body is
/// empty then; an answer that is no event stream is given back whole, as by http_call.
Result<HttpAnswer> http_stream(const HttpCall& call,
                               const std::function<void(std::string_view)>& on_event);

}  // namespace troupe
