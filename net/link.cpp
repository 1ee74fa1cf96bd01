#include "net/link.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <unordered_map>

#include "config/check.h"
#include "net/certs.h"
#include "net/clock.h"
#include "net/link_address.h"
#include "net/link_connection.h"
#include "net/listener.h"
#include "net/unix_socket.h"
#include "net/worker.h"

namespace troupe {

namespace {

/// What an epoll event is about, in its 64 bits: the kind, and an index or a connection's id.
enum class Source : uint64_t { wake, listener, door, remote, local };
constexpr int kKindBits = 3;
uint64_t tag(Source kind, uint64_t id) { return id << kKindBits | static_cast<uint64_t>(kind); }

/// Inode and time of the last change of each certificate file; zeros where there is none.
using FileStamps = std::array<std::array<int64_t, 3>, 3>;

FileStamps stamps_of(const LinkFiles& files) {
  FileStamps stamps{};
  size_t at = 0;
  for (const std::string* path : {&files.ca, &files.certificate, &files.key}) {
    struct stat info {};
    if (::stat(path->c_str(), &info) == 0)
      stamps[at] = {static_cast<int64_t>(info.st_ino), info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
    ++at;
  }
  return stamps;
}

class LinkLoop final : public Link {
 public:
  LinkLoop(LinkConfig config, std::shared_ptr<const LinkTls> tls, std::vector<int> doors)
      : config_(std::move(config)),
        doors_(std::move(doors)),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)),
        wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        tls_(std::move(tls)),
        stamps_(stamps_of(config_.ways.files)),
        resolver_(kLinkLookupsMax) {
    TROUPE_CHECK(epoll_ >= 0 && wake_ >= 0, epoll_, wake_);
    listen(EPOLL_CTL_ADD);
    watch(EPOLL_CTL_ADD, wake_, EPOLLIN, tag(Source::wake, 0));
    thread_ = std::thread([this] { run(); });
  }

  ~LinkLoop() override {
    stopping_.store(true);
    wake();
    thread_.join();
    resolver_.stop();
    connections_.clear();
    for (size_t i = 0; i < doors_.size(); ++i) {
      ::close(doors_[i]);
      ::unlink(config_.ways.doors[i].path.c_str());
    }
    ::close(config_.listener);
    ::close(epoll_);
    ::close(wake_);
  }

  LinkStats stats() const override {
    const std::lock_guard lock(mutex_);
    return published_;
  }

  Result<bool> reload_if_replaced() override {
    const auto stamps = stamps_of(config_.ways.files);
    {
      const std::lock_guard lock(mutex_);
      if (std::exchange(stamps_, stamps) == stamps) return false;
    }
    if (auto loaded = reload(); !loaded) return std::unexpected(loaded.error());
    return true;
  }

  Result<void> reload() override {
    auto tls = LinkTls::load(config_.ways.files, config_.node, peer_names(config_));
    if (!tls) return std::unexpected(tls.error());
    const std::lock_guard lock(mutex_);
    tls_ = std::move(*tls);
    return {};
  }

  std::chrono::sys_seconds certificate_expires() const override { return tls()->expires(); }

  void cut(std::string node) override {
    {
      const std::lock_guard lock(mutex_);
      cut_.insert(std::move(node));
    }
    wake();
  }

  static std::set<std::string> peer_names(const LinkConfig& config) {
    std::set<std::string> names;
    for (const LinkPeer& peer : config.ways.peers) names.insert(peer.node);
    return names;
  }

 private:
  using Connections = std::unordered_map<uint64_t, std::unique_ptr<LinkConnection>>;
  /// What the loop knows about a connection beside it.
  struct Watched {
    size_t remotes = 0;  ///< how many of its sockets epoll was given
    int local = -1;
    std::optional<Time> deadline;
    bool ready = false;  ///< it stands in ready_
  };

  void run();
  void wake() {
    const uint64_t one = 1;
    (void)!::write(wake_, &one, sizeof one);
  }
  std::shared_ptr<const LinkTls> tls() const {
    const std::lock_guard lock(mutex_);
    return tls_;
  }
  void watch(int operation, int fd, uint32_t events, uint64_t what) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = what;
    TROUPE_CHECK(::epoll_ctl(epoll_, operation, fd, &event) == 0, operation, fd, errno);
  }
  void listen(int operation);
  void pause_accepting();
  void accept_remote();
  void accept_local(size_t door);
  uint64_t add(std::unique_ptr<LinkConnection> connection, Duration within);
  void resolve(uint64_t id, const LinkDoor& door);
  void handle_wake();
  void serve(uint64_t id);
  void set_deadline(uint64_t id, std::optional<Time> at);
  void fire_deadlines(Time now);
  void refuse(uint64_t id, LinkRefusal why);
  void count(const LinkConnection& connection, LinkRefusal why);
  void drop(uint64_t id);
  int timeout(Time now) const;

  LinkConfig config_;
  std::vector<int> doors_;
  int epoll_, wake_;
  std::atomic<bool> stopping_ = false;

  mutable std::mutex mutex_;  ///< guards the six below
  std::shared_ptr<const LinkTls> tls_;
  FileStamps stamps_;  ///< of the certificate files, when they were last looked at
  LinkStats published_;
  std::set<std::string> cut_;
  std::vector<std::pair<uint64_t, std::vector<LinkAddress>>> resolved_;

  // The loop's thread only:
  Connections connections_;
  std::unordered_map<uint64_t, Watched> watched_;
  std::set<uint64_t> unauthenticated_;  ///< ids grow: the first one is the oldest
  std::set<std::pair<Time, uint64_t>> deadlines_;
  std::deque<uint64_t> ready_;  ///< with work left, in turn; each at most once
  std::optional<Time> accept_again_;
  uint64_t next_id_ = 1;
  LinkStats stats_;

  Worker resolver_;
  std::thread thread_;
};

void LinkLoop::listen(int operation) {
  watch(operation, config_.listener, EPOLLIN, tag(Source::listener, 0));
  for (size_t i = 0; i < doors_.size(); ++i)
    watch(operation, doors_[i], EPOLLIN, tag(Source::door, i));
}

void LinkLoop::run() {
  std::array<epoll_event, 128> events;
  while (!stopping_.load()) {
    const int count =
        ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), timeout(steady_now()));
    TROUPE_CHECK(count >= 0 || errno == EINTR, errno);
    for (int i = 0; i < count; ++i) {
      const uint64_t id = events[i].data.u64 >> kKindBits;
      const auto at = connections_.find(id);  // an event may be older than its connection's end
      switch (static_cast<Source>(events[i].data.u64 & ((1 << kKindBits) - 1))) {
        case Source::wake:
          handle_wake();
          break;
        case Source::listener:
          accept_remote();
          break;
        case Source::door:
          accept_local(id);
          break;
        case Source::remote:
          if (at == connections_.end()) break;
          at->second->remote_event(events[i].events);
          serve(id);
          break;
        case Source::local:
          if (at == connections_.end()) break;
          at->second->local_event(events[i].events);
          serve(id);
          break;
      }
    }
    // One turn for each that had work left; whoever still has some waits behind the events.
    for (size_t turns = ready_.size(); turns > 0; --turns) {
      const uint64_t id = ready_.front();
      ready_.pop_front();
      if (auto at = watched_.find(id); at != watched_.end()) {
        at->second.ready = false;
        serve(id);
      }
    }
    fire_deadlines(steady_now());
    const std::lock_guard lock(mutex_);
    stats_.unauthenticated = unauthenticated_.size();
    published_ = stats_;
  }
}

int LinkLoop::timeout(Time now) const {
  if (!ready_.empty()) return 0;
  std::optional<Time> at = accept_again_;
  if (!deadlines_.empty() && (!at || deadlines_.begin()->first < *at))
    at = deadlines_.begin()->first;
  if (!at) return -1;
  return static_cast<int>(std::clamp<int64_t>(to_ms(*at - now) + 1, 0, 60'000));
}

void LinkLoop::handle_wake() {
  uint64_t count = 0;
  (void)!::read(wake_, &count, sizeof count);
  std::set<std::string> cut;
  std::vector<std::pair<uint64_t, std::vector<LinkAddress>>> resolved;
  {
    const std::lock_guard lock(mutex_);
    cut.swap(cut_);
    resolved.swap(resolved_);
  }
  for (auto& [id, addresses] : resolved)
    if (auto at = connections_.find(id); at != connections_.end()) {
      at->second->dial(std::move(addresses));
      serve(id);
    }
  if (cut.empty()) return;
  std::vector<uint64_t> gone;
  for (const auto& [id, connection] : connections_)
    if (cut.contains(connection->node())) gone.push_back(id);
  for (const uint64_t id : gone) drop(id);
}

/// Out of descriptors or memory: a listener that stays readable would spin.
void LinkLoop::pause_accepting() {
  if (accept_again_) return;
  accept_again_ = steady_now() + kLinkAcceptPause;
  watch(EPOLL_CTL_MOD, config_.listener, 0, tag(Source::listener, 0));
  for (size_t i = 0; i < doors_.size(); ++i)
    watch(EPOLL_CTL_MOD, doors_[i], 0, tag(Source::door, i));
}

void LinkLoop::accept_remote() {
  for (size_t i = 0; i < kLinkUnauthenticatedMax; ++i) {
    LinkAddress from;
    from.size = sizeof from.bytes;
    const int fd = ::accept4(config_.listener, reinterpret_cast<sockaddr*>(&from.bytes), &from.size,
                             SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
        pause_accepting();
      return;
    }
    auto connection = LinkConnection::accept(tls(), fd, text_of(from));
    if (connections_.size() >= kLinkStreamsMax) {
      count(*connection, LinkRefusal::too_many_streams);
      continue;
    }
    if (unauthenticated_.size() >= kLinkUnauthenticatedMax)
      refuse(*unauthenticated_.begin(), LinkRefusal::crowded);
    const uint64_t id = add(std::move(connection), config_.handshake_timeout);
    unauthenticated_.insert(id);
    serve(id);
  }
}

void LinkLoop::accept_local(size_t index) {
  const LinkDoor& door = config_.ways.doors[index];
  for (;;) {
    const int fd = ::accept4(doors_[index], nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
        pause_accepting();
      return;
    }
    auto connection = LinkConnection::leave(tls(), door, fd);
    if (connections_.size() >= kLinkStreamsMax) {
      count(*connection, LinkRefusal::too_many_streams);
      continue;
    }
    const uint64_t id = add(std::move(connection), config_.dial_timeout);
    resolve(id, door);
  }
}

uint64_t LinkLoop::add(std::unique_ptr<LinkConnection> connection, Duration within) {
  const uint64_t id = next_id_++;
  connections_.emplace(id, std::move(connection));
  watched_.emplace(id, Watched());
  set_deadline(id, steady_now() + within);
  return id;
}

void LinkLoop::resolve(uint64_t id, const LinkDoor& door) {
  const auto peer = std::ranges::find(config_.ways.peers, door.node, &LinkPeer::node);
  // Addresses in digits need no resolver; names may take seconds, and wait on its thread.
  auto addresses = addresses_in_digits(peer->address);
  if (!addresses.empty()) {
    connections_.at(id)->dial(std::move(addresses));
    serve(id);
    return;
  }
  const bool taken = resolver_.offer([this, id, to = peer->address] {
    auto found = look_up_addresses(to);
    {
      const std::lock_guard lock(mutex_);
      resolved_.emplace_back(id, std::move(found));
    }
    wake();
  });
  if (!taken) refuse(id, LinkRefusal::unreachable);
}

void LinkLoop::serve(uint64_t id) {
  LinkConnection& connection = *connections_.at(id);
  Watched& known = watched_.at(id);
  const bool was_spliced = connection.spliced();
  const auto next = connection.turn(config_, stats_);
  if (next == LinkConnection::Next::refused) {
    count(connection, connection.refusal());
    drop(id);
    return;
  }
  if (connection.spliced() && !was_spliced) {
    ++stats_.open;
    unauthenticated_.erase(id);
    set_deadline(id, std::nullopt);
  }
  if (next == LinkConnection::Next::over) {
    drop(id);
    return;
  }
  constexpr uint32_t kEdges = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  if (connection.remotes() != known.remotes) {  // the one before was closed, so epoll forgot it
    known.remotes = connection.remotes();
    watch(EPOLL_CTL_ADD, connection.remote(), kEdges, tag(Source::remote, id));
  }
  if (connection.local() != known.local) {
    known.local = connection.local();
    watch(EPOLL_CTL_ADD, known.local, kEdges, tag(Source::local, id));
  }
  if (connection.lingers() && !known.deadline) set_deadline(id, steady_now() + kLinkLinger);
  if (next == LinkConnection::Next::more && !known.ready) {
    known.ready = true;
    ready_.push_back(id);
  }
}

void LinkLoop::set_deadline(uint64_t id, std::optional<Time> at) {
  Watched& known = watched_.at(id);
  if (known.deadline) deadlines_.erase({*known.deadline, id});
  known.deadline = at;
  if (at) deadlines_.emplace(*at, id);
}

void LinkLoop::fire_deadlines(Time now) {
  if (accept_again_ && now >= *accept_again_) {
    accept_again_.reset();
    listen(EPOLL_CTL_MOD);
  }
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const uint64_t id = deadlines_.begin()->second;
    if (connections_.at(id)->lingers())
      drop(id);
    else
      refuse(id, LinkRefusal::too_slow);
  }
}

void LinkLoop::refuse(uint64_t id, LinkRefusal why) {
  count(*connections_.at(id), why);
  drop(id);
}

void LinkLoop::count(const LinkConnection& connection, LinkRefusal why) {
  auto& counters = connection.inbound() ? stats_.refused : stats_.failed;
  ++counters[static_cast<size_t>(why)];
  (connection.inbound() ? stats_.last_refused : stats_.last_failed) = connection.describe(why);
}

void LinkLoop::drop(uint64_t id) {
  set_deadline(id, std::nullopt);
  if (connections_.at(id)->spliced()) {
    --stats_.open;
    ++stats_.ended;
  }
  unauthenticated_.erase(id);
  watched_.erase(id);
  connections_.erase(id);
}

Result<void> check(const LinkConfig& config) {
  auto refuse = [](std::string sentence) {
    return fail(ErrorCode::invalid_argument, std::move(sentence));
  };
  if (!is_node_name(config.node))
    return refuse(fmt::format("\"{}\" is no node name; rename it in the config", config.node));
  for (const LinkPeer& peer : config.ways.peers)
    if (!is_node_name(peer.node) || peer.node == config.node)
      return refuse(
          fmt::format("\"{}\" can't be another node's name; rename it in the config", peer.node));
  for (const LinkDoor& door : config.ways.doors) {
    if (!is_link_name(door.source_process) || !is_link_name(door.target_process))
      return refuse(fmt::format("the door from {} to {} has a name that can't be a process's",
                                door.source_process, door.target_process));
    if (std::ranges::find(config.ways.peers, door.node, &LinkPeer::node) == config.ways.peers.end())
      return refuse(fmt::format("the door {} leads to node {}, which is not in the config",
                                door.path, door.node));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Link>> Link::start(LinkConfig config) {
  if (auto fine = check(config); !fine) return std::unexpected(fine.error());
  auto tls = LinkTls::load(config.ways.files, config.node, LinkLoop::peer_names(config));
  if (!tls) return std::unexpected(tls.error());
  std::vector<int> doors;
  auto close_all = [&doors] {
    for (const int door : doors) ::close(door);
  };
  for (const LinkDoor& door : config.ways.doors) {
    auto opened = listen_unix(door.path);
    if (!opened) {
      close_all();
      return std::unexpected(opened.error());
    }
    doors.push_back(*opened);
  }
  config.listener = ::fcntl(config.listener, F_DUPFD_CLOEXEC, 0);
  if (config.listener < 0) {
    close_all();
    return fail(ErrorCode::internal,
                fmt::format("the link's port can't be used ({}); start the node again",
                            std::strerror(errno)));
  }
  return std::make_unique<LinkLoop>(std::move(config), std::move(*tls), std::move(doors));
}

}  // namespace troupe
