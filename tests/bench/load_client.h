// What the measuring clients share: sockets, epoll, and the frame of an HTTP answer. They must cost
// less than the server they load, so there is no HTTP library and no JSON parser; any surprise ends
// the program with one sentence.
#pragma once

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace load_client {

using Clock = std::chrono::steady_clock;
constexpr int kWaitMs = 60'000;  // a server silent for so long is stuck

[[noreturn]] inline void give_up(const std::string& why) {
  std::fprintf(stderr, "%s: %s\n", program_invocation_short_name, why.c_str());
  std::exit(1);
}

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Connection {
  int fd = -1;
  std::string received;  // what is not yet understood
  std::string request;
  uint64_t events = 0;  // of a stream
  size_t scanned = 0;   // of `received`
  bool done = false;
};

inline int connect_to(const char* host, const char* port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
  if (::inet_pton(AF_INET, host, &address.sin_addr) != 1) give_up("HOST must be an IPv4 address");
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    give_up(std::string("can't connect: ") + std::strerror(errno));
  const int one = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

inline std::string post(const char* host, const std::string& path, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: " + host +
         "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

/// Requests are small against the socket buffer, so a short write means that something is wrong.
inline void send_all(int fd, std::string_view bytes) {
  if (::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size()))
    give_up("the server took no request");
}

/// The value of a header in the head at the front of `bytes`, up to its line's end; empty if
/// absent.
inline std::string_view header(std::string_view bytes, std::string_view name) {
  const size_t head = bytes.find("\r\n\r\n");
  for (size_t line = bytes.find("\r\n"); line < head; line = bytes.find("\r\n", line + 2)) {
    const std::string_view rest = bytes.substr(line + 2);
    if (rest.size() <= name.size() || rest[name.size()] != ':' ||
        ::strncasecmp(rest.data(), name.data(), name.size()) != 0)
      continue;
    const size_t from = rest.find_first_not_of(' ', name.size() + 1);
    return rest.substr(from, rest.find("\r\n", from) - from);
  }
  return {};
}

/// Length of the whole answer at the front of `bytes`, 0 while it is incomplete.
inline size_t answer_length(std::string_view bytes) {
  const size_t head = bytes.find("\r\n\r\n");
  if (head == std::string_view::npos) return 0;
  if (!bytes.starts_with("HTTP/1.1 200 ")) give_up("an answer is not 200");
  const std::string_view length = header(bytes, "content-length");
  if (length.empty()) give_up("an answer has no Content-Length");
  const size_t size = std::strtoul(length.data(), nullptr, 10);
  return bytes.size() >= head + 4 + size ? head + 4 + size : 0;
}

class Poller {
 public:
  explicit Poller(std::vector<Connection>& all) : all_(all), epoll_(::epoll_create1(0)) {
    for (size_t i = 0; i < all.size(); ++i)
      if (all[i].fd >= 0) watch(i);
  }
  /// For a connection made later; servers close one on which nothing comes for some seconds.
  void watch(size_t i) {
    epoll_event event{EPOLLIN, {.u64 = i}};
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, all_[i].fd, &event) != 0) give_up("epoll_ctl failed");
  }
  /// Appends what came to the connections and gives each that got something to `handle`.
  template <class Handle>
  void turn(Handle handle) {
    epoll_event events[256];
    const int n = ::epoll_wait(epoll_, events, 256, kWaitMs);
    if (n <= 0) give_up("the server is silent");
    for (int i = 0; i < n; ++i) {
      Connection& c = all_[events[i].data.u64];
      const ssize_t got = ::recv(c.fd, buffer_, sizeof buffer_, 0);
      if (got <= 0) {
        if (!c.done) give_up("the server closed a connection");
        ::epoll_ctl(epoll_, EPOLL_CTL_DEL, c.fd, nullptr);
        continue;
      }
      c.received.append(buffer_, static_cast<size_t>(got));
      handle(c);
    }
  }

 private:
  std::vector<Connection>& all_;
  int epoll_;
  char buffer_[1 << 16];
};

}  // namespace load_client
