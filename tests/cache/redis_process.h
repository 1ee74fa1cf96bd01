// A real redis-server in a directory of its own, on a free port, and a raw connection to it.
#pragma once

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace troupe::testing {

inline sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// Listening; its port is free for nobody else until it is closed.
inline int listen_anywhere(int& port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  REQUIRE(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(listen(fd, 8) == 0);
  socklen_t size = sizeof address;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  port = ntohs(address.sin_port);
  return fd;
}

/// -1: nobody listens.
inline int connect_to(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = loopback(port);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  close(fd);
  return -1;
}

/// Waits up to 10 s for `condition`; says whether it came true.
template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 2'000; ++i) {
    if (condition()) return true;
    poll(nullptr, 0, 5);
  }
  return condition();
}

class RedisProcess {
 public:
  RedisProcess() {
    char directory[] = "/tmp/troupe-redis-XXXXXX";
    REQUIRE(mkdtemp(directory) != nullptr);
    directory_ = directory;
    close(listen_anywhere(port_));
    start();
  }
  ~RedisProcess() {
    stop();
    rmdir(directory_.c_str());
  }
  RedisProcess(const RedisProcess&) = delete;
  RedisProcess& operator=(const RedisProcess&) = delete;

  void start() {
    const std::string port = std::to_string(port_);
    pid_ = fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      execlp("redis-server", "redis-server", "--port", port.c_str(), "--bind", "127.0.0.1",
             "--save", "", "--appendonly", "no", "--dir", directory_.c_str(), "--logfile",
             "/dev/null", nullptr);
      _exit(127);
    }
    const bool up = eventually([&] {
      int status = 0;
      if (waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = -1;
        REQUIRE_MESSAGE(!(WIFEXITED(status) && WEXITSTATUS(status) == 127),
                        "redis-server is not installed: run scripts/setup --test");
        FAIL("redis-server ended at once");
      }
      const int fd = connect_to(port_);
      if (fd >= 0) close(fd);
      return fd >= 0;
    });
    REQUIRE(up);
  }
  void stop() {
    if (pid_ < 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  void freeze() { kill(pid_, SIGSTOP); }
  void thaw() { kill(pid_, SIGCONT); }
  std::string url() const { return "redis://127.0.0.1:" + std::to_string(port_); }

  /// Sends words as one command; the first line of the reply.
  std::string command(std::initializer_list<std::string_view> words) {
    const int fd = connect_to(port_);
    REQUIRE(fd >= 0);
    std::string request = "*" + std::to_string(words.size()) + "\r\n";
    for (std::string_view word : words)
      request += "$" + std::to_string(word.size()) + "\r\n" + std::string(word) + "\r\n";
    for (size_t sent = 0; sent < request.size();) {
      const ssize_t n = write(fd, request.data() + sent, request.size() - sent);
      REQUIRE(n > 0);
      sent += static_cast<size_t>(n);
    }
    std::string reply;
    char c = 0;
    while (read(fd, &c, 1) == 1 && c != '\r') reply += c;
    if (reply.starts_with('$') && reply != "$-1") {
      std::string body(std::stoul(reply.substr(1)) + 1, ' ');
      for (size_t got = 0; got < body.size();) {
        const ssize_t n = read(fd, body.data() + got, body.size() - got);
        REQUIRE(n > 0);
        got += static_cast<size_t>(n);
      }
      reply = body.substr(1);
    }
    close(fd);
    return reply;
  }

 private:
  std::string directory_;
  int port_ = 0;
  pid_t pid_ = -1;
};

}  // namespace troupe::testing
