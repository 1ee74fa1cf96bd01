// The link between two hosts, both on this one: bytes a second through
// AF_UNIX - link - TLS - link - AF_UNIX, and what a round trip gains by it over a plain AF_UNIX
// socket. Prints; asserts nothing. link_bench [SECONDS]
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "net/certs.h"
#include "net/link.h"
#include "net/listener.h"
#include "net/unix_socket.h"

namespace {

using namespace troupe;
using Clock = std::chrono::steady_clock;

template <class T>
T must(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "link_bench: %s\n", result.error().message.c_str());
    std::exit(1);
  }
  return std::move(*result);
}

int blocking(int fd) {
  if (fd < 0) {
    std::perror("link_bench: socket");
    std::exit(1);
  }
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  return fd;
}

int accept_at(int listener) {
  pollfd wait{listener, POLLIN, 0};
  ::poll(&wait, 1, 5'000);
  return blocking(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
}

bool read_all(int fd, char* to, size_t count) {
  while (count > 0) {
    const ssize_t got = ::recv(fd, to, count, 0);
    if (got <= 0) return false;
    to += got;
    count -= static_cast<size_t>(got);
  }
  return true;
}

/// Microseconds of round trips of 64 bytes: {median, 99th percentile}.
std::pair<double, double> round_trips(int here, int there, Clock::duration time) {
  std::thread echo([there] {
    char word[64];
    while (read_all(there, word, sizeof word))
      (void)!::send(there, word, sizeof word, MSG_NOSIGNAL);
  });
  std::vector<double> us;
  char word[64] = {};
  for (const auto end = Clock::now() + time; Clock::now() < end;) {
    const auto start = Clock::now();
    (void)!::send(here, word, sizeof word, MSG_NOSIGNAL);
    if (!read_all(here, word, sizeof word)) break;
    us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
  }
  ::shutdown(here, SHUT_WR);
  echo.join();
  std::ranges::sort(us);
  return us.empty() ? std::pair(0.0, 0.0) : std::pair(us[us.size() / 2], us[us.size() * 99 / 100]);
}

/// Megabytes (10^6) a second, one way.
double throughput(int from, int to, Clock::duration time) {
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    const std::string block(256 << 10, 'x');
    while (!stop.load() && ::send(from, block.data(), block.size(), MSG_NOSIGNAL) > 0) {
    }
    ::shutdown(from, SHUT_WR);
  });
  std::string room(256 << 10, '\0');
  size_t bytes = 0;
  const auto start = Clock::now();
  auto last = start;
  while (last - start < time) {
    const ssize_t got = ::recv(to, room.data(), room.size(), 0);
    if (got <= 0) break;
    bytes += static_cast<size_t>(got);
    last = Clock::now();
  }
  stop.store(true);
  while (::recv(to, room.data(), room.size(), 0) > 0) {
  }
  writer.join();
  return static_cast<double>(bytes) / 1e6 / std::chrono::duration<double>(last - start).count();
}

}  // namespace

int main(int argc, char** argv) {
  const auto time = std::chrono::milliseconds(argc > 1 ? 1000 * std::atoi(argv[1]) : 2000);
  char folder[] = "/tmp/troupe-bench-XXXXXX";
  if (!::mkdtemp(folder)) return 1;
  const std::string dir = folder;
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  CaOrder ca;
  ca.folder = dir;
  ca.now = now;
  must(make_ca(ca));
  const Listener port1 = must(listen_tcp({"127.0.0.1", 0}));
  const Listener port2 = must(listen_tcp({"127.0.0.1", 0}));
  const int target = must(listen_unix(dir + "/t"));
  LinkConfig one, two;
  one.node = "n1";
  one.listener = port1.fd;
  one.ways.peers = {{"n2", port2.address}};
  one.ways.doors = {{dir + "/d", LinkService::basp, "n1", "n2", "n2"}};
  two.node = "n2";
  two.listener = port2.fd;
  two.ways.peers = {{"n1", port1.address}};
  two.ways.targets = {{LinkService::basp, "n2", dir + "/t"}};
  for (LinkConfig* config : {&one, &two}) {
    NodeOrder order;
    order.folder = dir;
    order.node = config->node;
    order.now = now;
    must(issue_certificate(order));
    config->ways.files = link_files(dir, config->node);
  }
  {
    const auto n1 = must(Link::start(one)), n2 = must(Link::start(two));
    auto pair = [&] {
      const int here = blocking(must(dial_unix(dir + "/d")));
      return std::pair(here, accept_at(target));
    };
    // Best of three, because neighbours only ever slow a run down.
    double best = 0, direct_p50 = 1e9, direct_p99 = 1e9, link_p50 = 1e9, link_p99 = 1e9;
    for (int round = 0; round < 3; ++round) {
      auto [here, there] = pair();
      best = std::max(best, throughput(here, there, time));
      ::close(here);
      ::close(there);
      int direct[2];
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, direct) != 0) return 1;
      const auto [p50, p99] = round_trips(direct[0], direct[1], time / 2);
      direct_p50 = std::min(direct_p50, p50);
      direct_p99 = std::min(direct_p99, p99);
      ::close(direct[0]);
      ::close(direct[1]);
      auto [a, b] = pair();
      const auto [q50, q99] = round_trips(a, b, time / 2);
      link_p50 = std::min(link_p50, q50);
      link_p99 = std::min(link_p99, q99);
      ::close(a);
      ::close(b);
    }
    fmt::print("throughput          {:8.0f} MB/s one way, one stream\n", best);
    fmt::print("round trip, direct  {:8.1f} us p50 {:8.1f} us p99\n", direct_p50, direct_p99);
    fmt::print("round trip, link    {:8.1f} us p50 {:8.1f} us p99\n", link_p50, link_p99);
    fmt::print("added round trip    {:8.1f} us p50\n", link_p50 - direct_p50);
  }
  std::filesystem::remove_all(dir);
  return 0;
}
