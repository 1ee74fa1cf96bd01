#include "net/tcp_formation.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "config/check.h"
#include "config/limits.h"
#include "net/listener.h"
#include "net/rank_handshake.h"

namespace troupe {

namespace {

using Clock = std::chrono::steady_clock;
using Instant = Clock::time_point;

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

Result<Address> numeric(const HostPort& where) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  // A name would be asked of a server for as long as it takes.
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  if (::getaddrinfo(where.host.c_str(), std::to_string(where.port).c_str(), &hints, &found) != 0)
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("{} is no IP address and port of a rank; announce one", to_string(where)));
  Address address;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.size = found->ai_addrlen;
  ::freeaddrinfo(found);
  return address;
}

/// A lower rank that is to be dialled.
struct Dial {
  int rank = 0;
  Address address;
  Instant next;  ///< when to try (again)
  Duration backoff = kTcpRedialFirst;
  bool under_way = false;
  std::string last = "it was not reached yet";  ///< why it is not connected
};

class Formation {
 public:
  Formation(const TcpGroup& group, FileDescriptor listener, const StopSignal& stop)
      : group_(group),
        tls_(group.name, group.generation, group.key),
        listener_(std::move(listener)),
        stop_(stop),
        handshake_within_(scaled(kTcpHandshakeTimeout, group.timing_scale)),
        pipes_(group.addresses.size()) {}

  Result<std::vector<std::optional<TlsPipe>>> run(Duration allowed) {
    const Instant until = Clock::now() + allowed;
    for (int r = 0; r < group_.rank; ++r) {
      auto address = numeric(group_.addresses[static_cast<size_t>(r)]);
      if (!address) return std::unexpected(std::move(address.error()));
      dials_.push_back({.rank = r, .address = *address, .next = Clock::now()});
    }
    while (connected() + 1 < pipes_.size()) {
      const Instant now = Clock::now();
      if (stop_.raised())
        return fail(ErrorCode::aborted,
                    fmt::format("generation {} was aborted; start another one", group_.generation));
      if (now >= until) return missing(allowed);
      for (Dial& dial : dials_)
        if (!dial.under_way && !pipe(dial.rank) && dial.next <= now) start(dial, now);
      await(now, until);
      accept_all();
      advance_all();
    }
    return std::move(pipes_);
  }

 private:
  std::optional<TlsPipe>& pipe(int rank) { return pipes_[static_cast<size_t>(rank)]; }
  size_t connected() const {
    return static_cast<size_t>(
        std::ranges::count_if(pipes_, [](const auto& pipe) { return pipe.has_value(); }));
  }

  Introduction introduction(int to) const {
    return {.generation = group_.generation,
            .ranks = static_cast<uint16_t>(group_.addresses.size()),
            .from = static_cast<uint16_t>(group_.rank),
            .to = static_cast<uint16_t>(to)};
  }

  void start(Dial& dial, Instant now) {
    FileDescriptor socket(
        ::socket(dial.address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const auto* to = reinterpret_cast<const sockaddr*>(&dial.address.storage);
    if (!socket || (::connect(socket.get(), to, dial.address.size) != 0 && errno != EINPROGRESS)) {
      put_off(dial, std::strerror(errno));
      return;
    }
    dial.under_way = true;
    handshakes_.push_back(RankHandshake::dialled(tls_, std::move(socket), introduction(dial.rank),
                                                 now + handshake_within_));
  }

  void put_off(Dial& dial, std::string why) {
    dial.under_way = false;
    dial.last = std::move(why);
    dial.next = Clock::now() + dial.backoff;
    dial.backoff = std::min(dial.backoff * 2, kTcpRedialMax);
  }

  /// Sleeps until something can go on.
  void await(Instant now, Instant until) {
    polled_.assign({{stop_.descriptor(), POLLIN, 0}, {listener_.get(), POLLIN, 0}});
    for (const RankHandshake& handshake : handshakes_) {
      polled_.push_back({handshake.descriptor(), handshake.events(), 0});
      until = std::min(until, handshake.until());
    }
    for (const Dial& dial : dials_)
      if (!dial.under_way && !pipe(dial.rank)) until = std::min(until, dial.next);
    const Duration left = std::max<Duration>(until - now, Duration::zero());
    constexpr int64_t kSecond = 1'000'000'000;
    const timespec limit{.tv_sec = left.count() / kSecond, .tv_nsec = left.count() % kSecond};
    const int ready = ::ppoll(polled_.data(), polled_.size(), &limit, nullptr);
    TROUPE_CHECK(ready >= 0 || errno == EINTR, errno);
  }

  void accept_all() {
    for (size_t taken = 0; taken < kTcpUnauthenticatedMax; ++taken) {
      FileDescriptor socket(
          ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!socket) {
        // Out of descriptors: the strangers give theirs back.
        if (errno == EMFILE || errno == ENFILE) drop_oldest_stranger();
        return;
      }
      const auto strangers =
          std::ranges::count(handshakes_, TlsRole::listener, &RankHandshake::role);
      if (static_cast<size_t>(strangers) >= kTcpUnauthenticatedMax) drop_oldest_stranger();
      handshakes_.push_back(RankHandshake::accepted(tls_, std::move(socket), introduction(0),
                                                    Clock::now() + handshake_within_));
    }
  }

  void drop_oldest_stranger() {
    const auto oldest = std::ranges::find(handshakes_, TlsRole::listener, &RankHandshake::role);
    if (oldest != handshakes_.end()) handshakes_.erase(oldest);
  }

  void advance_all() {
    const Instant now = Clock::now();
    std::erase_if(handshakes_, [&](RankHandshake& handshake) {
      const auto state = handshake.advance();
      if (state == RankHandshake::State::done) {
        // A rank that dials again has given up its first socket.
        pipe(handshake.peer()).emplace(handshake.take());
        return true;
      }
      const bool failed = state == RankHandshake::State::failed;
      if (!failed && now < handshake.until()) return false;
      if (handshake.role() == TlsRole::dialler)
        put_off(dials_[static_cast<size_t>(handshake.peer())],
                failed ? handshake.why() : "it answered nothing");
      return true;
    });
  }

  std::unexpected<Error> missing(Duration allowed) {
    std::string who;
    for (int r = 0; r < static_cast<int>(pipes_.size()); ++r) {
      if (r == group_.rank || pipe(r)) continue;
      const std::string why =
          r < group_.rank ? dials_[static_cast<size_t>(r)].last : std::string("it did not dial");
      who += fmt::format("{}rank {} at {} ({})", who.empty() ? "" : ", ", r,
                         to_string(group_.addresses[static_cast<size_t>(r)]), why);
    }
    return fail(ErrorCode::deadline_exceeded,
                fmt::format("rank {} of generation {} has no connection after {} s to {}; check "
                            "that these ranks run, can be reached and are of one generation",
                            group_.rank, group_.generation, to_seconds(allowed), who));
  }

  const TcpGroup& group_;
  GroupTls tls_;
  FileDescriptor listener_;
  const StopSignal& stop_;
  const Duration handshake_within_;
  std::vector<std::optional<TlsPipe>> pipes_;
  std::vector<Dial> dials_;                ///< by rank
  std::vector<RankHandshake> handshakes_;  ///< oldest first
  std::vector<pollfd> polled_;
};

}  // namespace

Result<FileDescriptor> listen_for_ranks(const std::string& host, PortRange ports, HostPort& bound) {
  for (uint32_t port = ports.first; port <= ports.last; ++port) {
    auto listener = listen_tcp({host, static_cast<uint16_t>(port)});
    if (listener) {
      bound = listener->address;
      return FileDescriptor(listener->fd);
    }
    if (listener.error().code != ErrorCode::conflict)
      return std::unexpected(std::move(listener.error()));
  }
  return fail(
      ErrorCode::conflict,
      fmt::format("all data ports {}-{} of {} are in use; give the node a larger data_ports",
                  ports.first, ports.last, host));
}

Result<std::vector<std::optional<TlsPipe>>> connect_ranks(const TcpGroup& group,
                                                          FileDescriptor listener,
                                                          const StopSignal& stop,
                                                          Duration allowed) {
  const size_t ranks = group.addresses.size();
  if (ranks < 2 || ranks > kCollectiveRanksMax || group.rank < 0 ||
      static_cast<size_t>(group.rank) >= ranks)
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("rank {} of {} ranks can't form a group; give 2 to {} addresses and one "
                    "of their ranks",
                    group.rank, ranks, kCollectiveRanksMax));
  return Formation(group, std::move(listener), stop).run(allowed);
}

}  // namespace troupe
