#include "net/http_parser.h"

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <iterator>
#include <optional>
#include <utility>

#include "config/limits.h"

namespace troupe {

namespace http = boost::beast::http;

struct HttpParser::Beast {
  std::optional<http::request_parser<http::string_body>> parser;
};

HttpParser::HttpParser() : beast_(std::make_unique<Beast>()) { reset(); }
HttpParser::~HttpParser() = default;

void HttpParser::reset() {
  auto& parser = beast_->parser.emplace();
  parser.eager(true);
  parser.header_limit(static_cast<uint32_t>(kHttpHeaderBytesMax));
  parser.body_limit(kHttpBodyBytesMax);
  body_bytes_ = 0;
  started_ = header_done_ = wants_continue_ = is_head_ = false;
  is_http_1_1_ = true;
}

bool HttpParser::wants_continue() { return std::exchange(wants_continue_, false); }

HttpParser::Progress HttpParser::refuse(int status, std::string message, std::string_view code) {
  refusal_ = error_response(status, std::move(message), code);
  return Progress::refused;
}

HttpParser::Progress HttpParser::parse(std::string& in) {
  auto& parser = *beast_->parser;
  while (!in.empty()) {
    started_ = true;
    boost::system::error_code ec;
    const size_t used = parser.put(boost::asio::buffer(in), ec);
    in.erase(0, used);
    if (header_done_) body_bytes_ += used;
    if (ec == http::error::header_limit)
      return refuse(431,
                    fmt::format("The request header is larger than {} bytes: send fewer or shorter "
                                "headers.",
                                kHttpHeaderBytesMax),
                    "header_too_large");
    if (ec == http::error::body_limit)
      return refuse(413,
                    fmt::format("The request body is larger than {} bytes: send a shorter request.",
                                kHttpBodyBytesMax),
                    "body_too_large");
    if (ec && ec != http::error::need_more)
      return refuse(
          400,
          fmt::format("The request is not valid HTTP/1.1 ({}): correct the client.", ec.message()),
          "bad_http");
    if (!header_done_ && parser.is_header_done()) {
      header_done_ = true;
      if (!check_header()) return Progress::refused;
    }
    if (parser.is_done()) return Progress::done;
    if (ec == http::error::need_more) return Progress::more;
  }
  return Progress::more;
}

bool HttpParser::check_header() {
  const auto& parser = *beast_->parser;
  const auto& message = parser.get();
  keep_alive_ = message.keep_alive();
  is_head_ = message.method() == http::verb::head;
  is_http_1_1_ = message.version() >= 11;
  const auto lines = static_cast<size_t>(std::distance(message.begin(), message.end()));
  if (lines > kHttpHeaderLinesMax) {
    refuse(431,
           fmt::format("The request has {} header lines, {} are allowed: send fewer headers.",
                       lines, kHttpHeaderLinesMax),
           "header_too_large");
    return false;
  }
  if (message.count(http::field::transfer_encoding) != 0 && !parser.chunked()) {
    refuse(501, "Only the transfer coding 'chunked' is understood: send the body plain or chunked.",
           "unsupported_transfer_encoding");
    return false;
  }
  const auto expect = message[http::field::expect];
  if (expect.empty() || parser.is_done()) return true;
  wants_continue_ = equal_ignoring_case({expect.data(), expect.size()}, "100-continue");
  if (!wants_continue_)
    refuse(417, "Only 'Expect: 100-continue' is understood: leave the Expect header out.",
           "unsupported_expectation");
  return wants_continue_;
}

HttpRequest HttpParser::take() {
  auto message = beast_->parser->release();
  reset();
  HttpRequest request;
  request.method = std::string(message.method_string());
  const auto target = message.target();
  const size_t question = target.find('?');
  request.path = std::string(target.substr(0, question));
  if (question != boost::beast::string_view::npos)
    request.query = std::string(target.substr(question + 1));
  for (const auto& field : message)
    request.headers.push_back({std::string(field.name_string()), std::string(field.value())});
  request.body = std::move(message.body());
  return request;
}

}  // namespace troupe
