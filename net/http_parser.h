// From bytes to HTTP requests, one connection's worth: header and body limits, chunked bodies,
// Expect. No socket and no clock inside. Beast does the parsing; this says what is refused and how.
#pragma once

#include <memory>
#include <string>

#include "net/http_message.h"

namespace troupe {

class HttpParser {
 public:
  HttpParser();
  ~HttpParser();
  HttpParser(const HttpParser&) = delete;
  HttpParser& operator=(const HttpParser&) = delete;

  enum class Progress {
    more,     ///< all of `in` that can be used was; more bytes are needed
    done,     ///< a whole request: take it
    refused,  ///< the connection must end after refusal()
  };
  /// Takes bytes from the front of `in`, which keeps what belongs to a later request.
  Progress parse(std::string& in);

  /// After `done`; the parser is then ready for the next request. `peer` and `local` are left
  /// empty.
  HttpRequest take();
  const HttpResponse& refusal() const { return refusal_; }
  void reset();

  bool started() const { return started_; }      ///< some bytes of a request were seen
  bool in_body() const { return header_done_; }  ///< the header is complete, the request is not
  size_t body_bytes() const { return body_bytes_; }
  /// True once, when the client waits for "100 Continue".
  bool wants_continue();

  // Of the last request whose header was complete.
  bool keep_alive() const { return keep_alive_; }
  bool is_head() const { return is_head_; }
  bool is_http_1_1() const { return is_http_1_1_; }

 private:
  struct Beast;

  Progress refuse(int status, std::string message, std::string_view code);
  bool check_header();

  std::unique_ptr<Beast> beast_;
  HttpResponse refusal_;
  size_t body_bytes_ = 0;
  bool started_ = false, header_done_ = false, wants_continue_ = false;
  bool keep_alive_ = false, is_head_ = false, is_http_1_1_ = true;
};

}  // namespace troupe
