#include "net/http_client.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cerrno>
#include <memory>
#include <optional>

#include "config/limits.h"
#include "net/request_headers.h"
#include "net/sse_reader.h"

namespace troupe {
namespace {

namespace http = boost::beast::http;
using Clock = std::chrono::steady_clock;

struct Url {
  bool tls = false;
  std::string host, port, target, origin;
};

Result<Url> parse_url(std::string_view text) {
  Url url;
  url.tls = text.starts_with("https://");
  if (!url.tls && !text.starts_with("http://"))
    return fail(ErrorCode::invalid_argument, "The address must begin with http:// or https://.");
  std::string_view rest = text.substr(url.tls ? 8 : 7);
  const size_t slash = rest.find('/');
  const std::string_view authority = rest.substr(0, slash);
  url.target = slash == std::string_view::npos ? "/" : std::string(rest.substr(slash));
  url.host = host_of(authority);
  const size_t colon = authority.rfind(':');
  const bool has_port =
      colon != std::string_view::npos && authority.find(']', colon) == std::string_view::npos;
  url.port = has_port ? std::string(authority.substr(colon + 1)) : (url.tls ? "443" : "80");
  url.origin = fmt::format("{}{}", url.tls ? "https://" : "http://", authority);
  if (url.host.empty() || url.port.empty() ||
      url.port.find_first_not_of("0123456789") != std::string::npos)
    return fail(ErrorCode::invalid_argument, "The address must look like http://HOST:PORT/PATH.");
  return url;
}

/// A connected socket, with TLS or not; every wait ends at the deadline.
class Wire {
 public:
  Wire() = default;
  ~Wire() {
    if (ssl_) SSL_free(ssl_);
    if (context_) SSL_CTX_free(context_);
    if (fd_ >= 0) ::close(fd_);
  }
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  void set_deadline(Duration within) { deadline_ = Clock::now() + within; }

  Result<void> connect(const Url& url) {
    origin_ = url.origin;
    addrinfo hints{}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if (::getaddrinfo(url.host.c_str(), url.port.c_str(), &hints, &found) != 0)
      return fail(ErrorCode::unavailable,
                  fmt::format("The host of {} is not known: check the address.", origin_));
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, ::freeaddrinfo);
    for (const addrinfo* at = found; at; at = at->ai_next) {
      if (fd_ >= 0) ::close(fd_);
      fd_ =
          ::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol);
      if (fd_ < 0) continue;
      const bool now = ::connect(fd_, at->ai_addr, at->ai_addrlen) == 0;
      if (!now && (errno != EINPROGRESS || !wait(POLLOUT))) continue;
      int error = 0;
      socklen_t size = sizeof error;
      if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0) {
        const int on = 1;
        ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        return url.tls ? handshake(url) : Result<void>{};
      }
    }
    return fail(ErrorCode::unavailable,
                fmt::format("Nothing answers at {}: check that it runs and the port.", origin_));
  }

  Result<void> send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto sent =
          ssl_ ? static_cast<ssize_t>(SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())))
               : ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent > 0)
        bytes.remove_prefix(static_cast<size_t>(sent));
      else if (!may_retry(sent, POLLOUT))
        return lost();
    }
    return {};
  }

  /// 0 at the end of the connection.
  Result<size_t> receive(char* into, size_t size) {
    while (true) {
      const auto got = ssl_ ? static_cast<ssize_t>(SSL_read(ssl_, into, static_cast<int>(size)))
                            : ::recv(fd_, into, size, 0);
      if (got > 0) return static_cast<size_t>(got);
      if (got == 0 && !ssl_) return 0;
      if (ssl_ && SSL_get_error(ssl_, static_cast<int>(got)) == SSL_ERROR_ZERO_RETURN) return 0;
      if (!may_retry(got, POLLIN)) return std::unexpected(lost().error());
    }
  }

 private:
  bool wait(short events) {
    pollfd waiting{fd_, events, 0};
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Clock::now()).count();
    timed_out_ = left <= 0 || ::poll(&waiting, 1, static_cast<int>(left)) == 0;
    return !timed_out_;
  }
  bool may_retry(ssize_t result, short events) {
    if (!ssl_) return (errno == EAGAIN || errno == EINTR) && wait(events);
    const int why = SSL_get_error(ssl_, static_cast<int>(result));
    ERR_clear_error();
    if (why == SSL_ERROR_WANT_READ) return wait(POLLIN);
    return why == SSL_ERROR_WANT_WRITE && wait(POLLOUT);
  }
  Result<void> lost() const {
    if (timed_out_)
      return fail(ErrorCode::deadline_exceeded,
                  fmt::format("{} did not answer in time: try again later.", origin_));
    return fail(ErrorCode::unavailable,
                fmt::format("The connection to {} broke: try again.", origin_));
  }
  Result<void> handshake(const Url& url) {
    context_ = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context_, TLS1_2_VERSION);
    SSL_CTX_set_default_verify_paths(context_);
    ssl_ = SSL_new(context_);
    SSL_set_fd(ssl_, fd_);
    SSL_set_tlsext_host_name(ssl_, url.host.c_str());
    if (!is_loopback_name(url.host)) {
      SSL_set_verify(ssl_, SSL_VERIFY_PEER, nullptr);
      SSL_set1_host(ssl_, url.host.c_str());
    }
    for (int result; (result = SSL_connect(ssl_)) != 1;)
      if (!may_retry(result, POLLIN))
        return fail(
            ErrorCode::unavailable,
            fmt::format(
                "No TLS connection to {}: check that it serves https with a valid certificate.",
                origin_));
    return {};
  }

  int fd_ = -1;
  SSL_CTX* context_ = nullptr;
  SSL* ssl_ = nullptr;
  Clock::time_point deadline_;
  bool timed_out_ = false;
  std::string origin_;
};

std::string request_bytes(const HttpCall& call, const Url& url) {
  std::string out = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", call.method,
                                url.target, url.origin.substr(url.origin.find("//") + 2));
  for (const HttpHeader& header : call.headers)
    out += fmt::format("{}: {}\r\n", header.name, header.value);
  if (!call.body.empty())
    out +=
        fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", call.body.size());
  return out + "\r\n" + call.body;
}

Result<HttpAnswer> perform(const HttpCall& call,
                           const std::function<void(std::string_view)>* on_event) {
  auto url = parse_url(call.url);
  if (!url) return std::unexpected(url.error());
  Wire wire;
  wire.set_deadline(call.deadline);
  if (auto connected = wire.connect(*url); !connected) return std::unexpected(connected.error());
  if (auto sent = wire.send(request_bytes(call, *url)); !sent) return std::unexpected(sent.error());

  http::response_parser<http::string_body> parser;
  parser.eager(true);
  parser.body_limit(boost::none);
  parser.skip(call.method == "HEAD");
  std::string in;
  SseReader events;
  char buffer[16 * 1024];
  while (!parser.is_done()) {
    const auto got = wire.receive(buffer, sizeof buffer);
    if (!got) return std::unexpected(got.error());
    boost::system::error_code ec;
    if (*got == 0) {
      parser.put_eof(ec);
      if (ec || !parser.is_done())
        return fail(ErrorCode::unavailable,
                    fmt::format("{} ended the connection before its answer was complete: "
                                "try again.",
                                url->origin));
      break;
    }
    in.append(buffer, *got);
    while (!in.empty() && !parser.is_done()) {
      in.erase(0, parser.put(boost::asio::buffer(in), ec));
      if (ec) break;
    }
    if (ec && ec != http::error::need_more)
      return fail(ErrorCode::data_loss,
                  fmt::format("{} does not speak HTTP: check the address.", url->origin));
    std::string& body = parser.get().body();
    if (on_event && parser.is_header_done() &&
        parser.get()[http::field::content_type].starts_with("text/event-stream")) {
      wire.set_deadline(call.deadline);
      events.read(body, *on_event);
      body.clear();
    }
    if (body.size() + events.pending() > kHttpAnswerBytesMax)
      return fail(ErrorCode::too_large, fmt::format("The answer of {} is larger than {} bytes.",
                                                    url->origin, kHttpAnswerBytesMax));
  }
  HttpAnswer answer;
  auto message = parser.release();
  answer.status = message.result_int();
  for (const auto& field : message)
    answer.headers.push_back({std::string(field.name_string()), std::string(field.value())});
  answer.body = std::move(message.body());
  return answer;
}

}  // namespace

Result<HttpAnswer> http_call(const HttpCall& call) { return perform(call, nullptr); }

Result<HttpAnswer> http_stream(const HttpCall& call,
                               const std::function<void(std::string_view)>& on_event) {
  return perform(call, &on_event);
}

}  // namespace troupe
