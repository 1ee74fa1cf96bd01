#include "net/http_client.h"

#include <fmt/format.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <memory>
#include <optional>

#include "config/limits.h"

namespace troupe {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Clock = std::chrono::steady_clock;

/// One connection, driven to completion step by step against a deadline.
class Connection {
 public:
  Connection(const HostPort& address, Duration timeout)
      : address_(address), stream_(io_), end_(Clock::now() + timeout) {}

  Result<void> connect() {
    beast::error_code error;
    asio::ip::tcp::resolver resolver(io_);
    auto found = resolver.resolve(address_.host, std::to_string(address_.port), error);
    if (error) return unavailable(error);
    stream_.expires_at(end_);
    stream_.async_connect(found, [&](beast::error_code e, const auto&) { error = e; });
    run();
    if (error) return unavailable(error);
    stream_.socket().set_option(asio::ip::tcp::no_delay(true), error);
    return {};
  }

  Result<void> send(const http::request<http::string_body>& request) {
    beast::error_code error;
    http::async_write(stream_, request, [&](beast::error_code e, size_t) { error = e; });
    run();
    if (error) return unavailable(error);
    return {};
  }

  /// Reads until the head is there.
  Result<void> read_head() {
    parser_.body_limit(64 * kMiB);
    beast::error_code error;
    http::async_read_header(stream_, buffer_, parser_,
                            [&](beast::error_code e, size_t) { error = e; });
    run();
    if (error) return unavailable(error);
    return {};
  }
  /// Reads some of the body; false at its end.
  Result<bool> read_some() {
    if (parser_.is_done()) return false;
    beast::error_code error;
    http::async_read_some(stream_, buffer_, parser_,
                          [&](beast::error_code e, size_t) { error = e; });
    run();
    if (error == http::error::end_of_stream) return false;
    if (error) return std::unexpected(unavailable(error).error());
    return true;
  }
  http::response_parser<http::string_body>& parser() { return parser_; }

 private:
  void run() {
    io_.restart();
    io_.run();
  }
  std::unexpected<Error> unavailable(beast::error_code error) {
    if (error == beast::error::timeout)
      return fail(ErrorCode::deadline_exceeded,
                  fmt::format("{} did not answer in time", to_string(address_)));
    return fail(ErrorCode::unavailable,
                fmt::format("{} can't be reached ({}); is the node running?", to_string(address_),
                            error.message()));
  }

  HostPort address_;
  asio::io_context io_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  http::response_parser<http::string_body> parser_;
  Clock::time_point end_;
};

http::request<http::string_body> make_request(const HostPort& address, const std::string& token,
                                              http::verb verb, std::string_view path,
                                              std::string_view json) {
  http::request<http::string_body> request{verb, beast::string_view(path.data(), path.size()), 11};
  request.set(http::field::host, to_string(address));
  request.set(http::field::connection, "close");
  if (!token.empty()) request.set(http::field::authorization, "Bearer " + token);
  if (verb == http::verb::post) request.set(http::field::content_type, "application/json");
  request.body() = std::string(json);
  request.prepare_payload();
  return request;
}

/// Cuts complete events off `text` and hands over their data. False when the receiver had enough.
bool take_events(std::string& text, const std::function<bool(std::string_view)>& event) {
  size_t start = 0;
  for (size_t end; (end = text.find("\n\n", start)) != std::string::npos; start = end + 2) {
    std::string_view block = std::string_view(text).substr(start, end - start);
    while (!block.empty()) {
      const size_t newline = std::min(block.find('\n'), block.size());
      std::string_view line = block.substr(0, newline);
      block.remove_prefix(std::min(newline + 1, block.size()));
      if (!line.starts_with("data:")) continue;
      line.remove_prefix(line.starts_with("data: ") ? 6 : 5);
      if (line != "[DONE]" && !event(line)) return false;
    }
  }
  text.erase(0, start);
  return true;
}

Result<ClientResponse> exchange(const HostPort& address, Duration timeout,
                                const http::request<http::string_body>& request) {
  Connection c(address, timeout);
  if (auto done = c.connect(); !done) return std::unexpected(done.error());
  if (auto done = c.send(request); !done) return std::unexpected(done.error());
  if (auto done = c.read_head(); !done) return std::unexpected(done.error());
  for (;;) {
    auto more = c.read_some();
    if (!more) return std::unexpected(more.error());
    if (!*more) break;
  }
  return ClientResponse{static_cast<int>(c.parser().get().result_int()),
                        std::move(c.parser().get().body())};
}

}  // namespace

Result<HttpClient> HttpClient::make(std::string_view url, std::string token) {
  constexpr std::string_view kScheme = "http://";
  std::string_view rest = url;
  if (rest.starts_with(kScheme)) rest.remove_prefix(kScheme.size());
  while (rest.ends_with('/')) rest.remove_suffix(1);
  auto address = parse_host_port(rest);
  if (!address)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} is no address; give http://HOST:PORT", url), "url");
  HttpClient client;
  client.address_ = *address;
  client.token_ = std::move(token);
  return client;
}

Result<ClientResponse> HttpClient::get(std::string_view path, Duration timeout) const {
  return exchange(address_, timeout, make_request(address_, token_, http::verb::get, path, {}));
}

Result<ClientResponse> HttpClient::post(std::string_view path, std::string_view json,
                                        Duration timeout) const {
  return exchange(address_, timeout, make_request(address_, token_, http::verb::post, path, json));
}

Result<ClientResponse> HttpClient::stream(
    std::string_view path, std::string_view json, Duration timeout,
    const std::function<bool(std::string_view)>& event) const {
  Connection c(address_, timeout);
  if (auto done = c.connect(); !done) return std::unexpected(done.error());
  if (auto done = c.send(make_request(address_, token_, http::verb::post, path, json)); !done)
    return std::unexpected(done.error());
  if (auto done = c.read_head(); !done) return std::unexpected(done.error());
  const int status = static_cast<int>(c.parser().get().result_int());
  std::string pending;
  for (;;) {
    auto more = c.read_some();
    if (!more) return std::unexpected(more.error());
    if (status == 200) {
      pending += c.parser().get().body();
      c.parser().get().body().clear();
      if (!take_events(pending, event)) return ClientResponse{status, {}};
    }
    if (!*more) break;
  }
  return ClientResponse{status, std::move(c.parser().get().body())};
}

}  // namespace troupe
