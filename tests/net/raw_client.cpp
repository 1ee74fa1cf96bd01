#include "tests/net/raw_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <utility>

namespace troupe::testing {

RawClient::RawClient(uint16_t port) {
  fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) close();
}

RawClient RawClient::with_tls(uint16_t port) {
  RawClient client(port);
  client.context_ = SSL_CTX_new(TLS_client_method());
  client.ssl_ = SSL_new(client.context_);
  SSL_set_fd(client.ssl_, client.fd_);
  if (SSL_connect(client.ssl_) != 1) client.close();
  return client;
}

RawClient::RawClient(RawClient&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      context_(std::exchange(other.context_, nullptr)),
      ssl_(std::exchange(other.ssl_, nullptr)),
      buffer_(std::move(other.buffer_)),
      within_(other.within_) {}

RawClient::~RawClient() { close(); }

void RawClient::close() {
  if (ssl_) SSL_free(std::exchange(ssl_, nullptr));
  if (context_) SSL_CTX_free(std::exchange(context_, nullptr));
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void RawClient::reset() {
  const linger now{1, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close();
}

void RawClient::shut_down_sending() { ::shutdown(fd_, SHUT_WR); }

std::string RawClient::tls_version() const { return ssl_ ? SSL_get_version(ssl_) : ""; }

bool RawClient::send(std::string_view bytes) {
  while (!bytes.empty() && fd_ >= 0) {
    const auto sent =
        ssl_ ? static_cast<ssize_t>(SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())))
             : ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return bytes.empty();
}

bool RawClient::fill() {
  if (fd_ < 0) return false;
  char bytes[16384];
  if (!ssl_ || SSL_pending(ssl_) == 0) {
    pollfd waiting{fd_, POLLIN, 0};
    if (::poll(&waiting, 1, static_cast<int>(within_.count())) <= 0) {
      timed_out_ = true;
      return false;
    }
  }
  const auto got = ssl_ ? static_cast<ssize_t>(SSL_read(ssl_, bytes, sizeof bytes))
                        : ::recv(fd_, bytes, sizeof bytes, 0);
  if (got <= 0) return false;
  buffer_.append(bytes, static_cast<size_t>(got));
  return true;
}

std::optional<std::string> RawClient::read_line() {
  size_t end;
  while ((end = buffer_.find("\r\n")) == std::string::npos)
    if (!fill()) return std::nullopt;
  std::string line = buffer_.substr(0, end);
  buffer_.erase(0, end + 2);
  return line;
}

RawAnswer RawClient::read_head() {
  RawAnswer answer;
  const auto first = read_line();
  if (!first || first->size() < 12) {
    answer.ended = true;
    return answer;
  }
  answer.status = std::stoi(first->substr(9, 3));
  answer.head = *first;
  while (const auto line = read_line()) {
    if (line->empty()) return answer;
    answer.head += "\r\n" + *line;
    const size_t colon = line->find(':');
    std::string name = line->substr(0, colon);
    std::ranges::transform(name, name.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    answer.headers[name] = line->substr(std::min(line->size(), colon + 2));
  }
  answer.ended = true;
  return answer;
}

RawAnswer RawClient::read_answer(bool head_only) {
  RawAnswer answer = read_head();
  if (answer.ended || head_only || answer.status < 200) return answer;
  if (answer.headers.contains("content-length")) {
    const size_t length = std::stoul(answer.headers["content-length"]);
    while (buffer_.size() < length && fill()) {
    }
    answer.ended = buffer_.size() < length;
    answer.body = buffer_.substr(0, length);
    buffer_.erase(0, length);
  } else if (answer.headers.contains("transfer-encoding")) {
    while (const auto size = read_line()) {
      const size_t length = std::stoul(*size, nullptr, 16);
      while (buffer_.size() < length + 2 && fill()) {
      }
      answer.body += buffer_.substr(0, length);
      buffer_.erase(0, length + 2);
      if (length == 0) return answer;
    }
    answer.ended = true;
  } else {
    while (fill()) {
    }
    answer.body = std::exchange(buffer_, {});
  }
  return answer;
}

std::string RawClient::read_until(std::string_view end) {
  std::string all;
  while (all.find(end) == std::string::npos) {
    const auto size = read_line();
    if (!size) break;
    const size_t length = std::stoul(*size, nullptr, 16);
    while (buffer_.size() < length + 2 && fill()) {
    }
    all += buffer_.substr(0, length);
    buffer_.erase(0, length + 2);
    if (length == 0) break;
  }
  return all;
}

bool RawClient::at_end(std::string* rest) {
  timed_out_ = false;
  while (fill()) {
  }
  if (rest) *rest = buffer_;
  return !timed_out_;
}

std::string post(std::string_view path, std::string_view body, std::string_view more_headers) {
  return "POST " + std::string(path) +
         " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
         std::string(more_headers) + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         std::string(body);
}

std::string get(std::string_view path, std::string_view more_headers) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n" +
         std::string(more_headers) + "\r\n";
}

}  // namespace troupe::testing
