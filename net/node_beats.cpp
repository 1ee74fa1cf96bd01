#include "net/node_beats.h"

#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <list>
#include <mutex>
#include <optional>
#include <thread>

#include "config/check.h"
#include "net/clock.h"
#include "net/file_descriptor.h"
#include "net/unix_socket.h"

namespace troupe {

namespace {

struct BeatConnection {
  FileDescriptor socket;
  /// Who was dialed, or whom the link proved to call; empty: a caller of this host that has said
  /// nothing yet.
  std::string node;
  std::optional<Incarnation> incarnation;
  Time heard{};  ///< or opened
  BeatReader reader;
};

/// A node that this one dials.
struct Door {
  BeatDoor to;
  std::optional<BeatConnection> connection;
  Time dial_at{};
  Duration back_off = kBeatRedialFirst;
};

class BeatLoop final : public NodeBeats {
 public:
  BeatLoop(NodeBeatsConfig config, int listener)
      : config_(std::move(config)),
        frame_(encode_beat(config_.own)),
        listener_(listener),
        wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        callers_max_(std::max<size_t>(1, 2 * config_.ways.callers.size())) {
    TROUPE_CHECK(wake_.get() >= 0, errno);
    for (const BeatDoor& door : config_.ways.doors) doors_.push_back({door, {}, {}});
    thread_ = std::thread([this] { run(); });
  }

  ~BeatLoop() override {
    const uint64_t one = 1;
    (void)!::write(wake_.get(), &one, sizeof one);
    thread_.join();
    ::unlink(config_.ways.socket.c_str());
  }

  NodeBeatsStats stats() const override {
    const std::lock_guard lock(mutex_);
    return published_;
  }

 private:
  void run();
  void dial(Time now);
  void accept(Time now);
  void send(const BeatConnection& connection);
  void end(Door& door, Time now);
  /// False: the connection is to be closed.
  bool receive(BeatConnection& connection, Time now);
  bool believe(const BeatConnection& connection, const NodeBeat& beat) const;
  bool calls(const std::string& node) const;
  void refuse(const std::string& why);
  bool silent(const BeatConnection& connection, Time now);
  void hear_callers(const std::vector<pollfd>& waits, size_t first, Time now);
  int timeout(Time now, Time next_beat) const;
  size_t open() const;

  const NodeBeatsConfig config_;
  const std::array<uint8_t, kBeatFrameBytes> frame_;
  const FileDescriptor listener_, wake_;
  /// A caller whose old connection has not ended yet dials anew: two each.
  const size_t callers_max_;

  // The thread's only:
  std::vector<Door> doors_;
  std::list<BeatConnection> callers_;  ///< the oldest first
  std::vector<NodeBeat> beats_;
  std::string last_refusal_;
  NodeBeatsStats stats_;

  mutable std::mutex mutex_;  ///< guards published_
  NodeBeatsStats published_;
  std::thread thread_;
};

void BeatLoop::run() {
  ::pthread_setname_np(::pthread_self(), "beats");
  Time next_beat = steady_now();
  for (;;) {
    Time now = steady_now();
    dial(now);
    if (now >= next_beat) {
      for (const Door& door : doors_)
        if (door.connection) send(*door.connection);
      for (const BeatConnection& caller : callers_) send(caller);
      next_beat = now + kBeatInterval;
    }
    {
      const std::lock_guard lock(mutex_);
      stats_.open = open();
      published_ = stats_;
    }
    std::vector<pollfd> waits = {{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    for (const Door& door : doors_)
      waits.push_back({door.connection ? door.connection->socket.get() : -1, POLLIN, 0});
    for (const BeatConnection& caller : callers_) waits.push_back({caller.socket.get(), POLLIN, 0});
    const int polled = ::poll(waits.data(), waits.size(), timeout(now, next_beat));
    TROUPE_CHECK(polled >= 0 || errno == EINTR, errno);
    if (waits[0].revents) return;
    now = steady_now();
    for (size_t i = 0; i < doors_.size(); ++i) {
      Door& door = doors_[i];
      if (!door.connection) continue;
      const uint64_t before = stats_.heard;
      const bool lives = !waits[2 + i].revents || receive(*door.connection, now);
      if (stats_.heard != before) door.back_off = kBeatRedialFirst;
      if (!lives || silent(*door.connection, now)) end(door, now);
    }
    hear_callers(waits, 2 + doors_.size(), now);
    if (waits[1].revents) accept(now);
  }
}

int BeatLoop::timeout(Time now, Time next_beat) const {
  Time at = next_beat;  // never far: what else there is to do waits for it, but for a dial
  for (const Door& door : doors_)
    if (!door.connection) at = std::min(at, door.dial_at);
  return static_cast<int>(
      std::clamp<int64_t>((at - now + 999'999ns).count() / 1'000'000, 0, 1'000));
}

size_t BeatLoop::open() const {
  const auto speaks = [](const BeatConnection& c) { return c.incarnation.has_value(); };
  return static_cast<size_t>(std::ranges::count_if(callers_, speaks) +
                             std::ranges::count_if(doors_, [&](const Door& door) {
                               return door.connection && speaks(*door.connection);
                             }));
}

void BeatLoop::dial(Time now) {
  for (Door& door : doors_) {
    if (door.connection || now < door.dial_at) continue;
    if (auto socket = dial_unix(door.to.path)) {
      door.connection.emplace(FileDescriptor(*socket), door.to.node, std::nullopt, now,
                              BeatReader());
      send(*door.connection);  // who answers a call need not wait for the next beat
    } else {
      end(door, now);
    }
  }
}

void BeatLoop::end(Door& door, Time now) {
  door.connection.reset();
  door.dial_at = now + door.back_off;
  door.back_off = std::min(2 * door.back_off, kBeatRedialMax);
}

void BeatLoop::accept(Time now) {
  for (;;) {
    const int socket = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (socket < 0) return;  // none left; without descriptors the caller dials again
    if (callers_.size() >= callers_max_) {
      callers_.pop_front();
      ++stats_.refused;
    }
    std::string node = unix_speaker(socket);
    if (!node.empty() && !calls(node)) {
      refuse(fmt::format("node {} called with beats, which this one is to dial", node));
      ::close(socket);
      continue;
    }
    callers_.push_back({FileDescriptor(socket), std::move(node), std::nullopt, now, {}});
    send(callers_.back());
  }
}

/// A frame fits a socket's buffer whole or not at all. One that does not is left out: the next says
/// the same.
void BeatLoop::send(const BeatConnection& connection) {
  const ssize_t put =
      ::send(connection.socket.get(), frame_.data(), frame_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (put == static_cast<ssize_t>(frame_.size()))
    ++stats_.sent;
  else if (put < 0 && errno == EAGAIN)
    ++stats_.unsent;
  else
    ::shutdown(connection.socket.get(), SHUT_RDWR);  // the next look finds it ended
}

bool BeatLoop::receive(BeatConnection& connection, Time now) {
  std::array<uint8_t, 16 * kBeatFrameBytes> bytes;
  const ssize_t got = ::recv(connection.socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) return false;
  beats_.clear();
  const bool whole =
      connection.reader.read(std::span(bytes).first(static_cast<size_t>(got)), beats_).has_value();
  for (const NodeBeat& beat : beats_) {
    if (!believe(connection, beat)) {
      refuse(fmt::format("a connection of node {} brought beats of process {:016x} of node {}",
                         connection.node.empty() ? "this host" : connection.node,
                         beat.incarnation.value, beat.node));
      return false;
    }
    connection.node = beat.node;
    connection.incarnation = beat.incarnation;
    connection.heard = now;
    ++stats_.heard;
    config_.heard(beat);
  }
  if (!whole) ++stats_.refused;
  return whole;
}

/// A connection belongs to one process of one node: the one that was dialed, or one of the callers.
bool BeatLoop::believe(const BeatConnection& connection, const NodeBeat& beat) const {
  if (connection.incarnation && *connection.incarnation != beat.incarnation) return false;
  if (!connection.node.empty()) return beat.node == connection.node;
  return calls(beat.node);
}

bool BeatLoop::calls(const std::string& node) const {
  return std::ranges::find(config_.ways.callers, node) != config_.ways.callers.end();
}

void BeatLoop::refuse(const std::string& why) {
  ++stats_.refused;
  if (config_.refused && why != last_refusal_) config_.refused(why);
  last_refusal_ = why;
}

bool BeatLoop::silent(const BeatConnection& connection, Time now) {
  if (now - connection.heard < config_.silence_max) return false;
  ++stats_.silent;
  return true;
}

void BeatLoop::hear_callers(const std::vector<pollfd>& waits, size_t first, Time now) {
  for (auto caller = callers_.begin(); caller != callers_.end(); ++first) {
    const bool lives = !waits[first].revents || receive(*caller, now);
    if (!lives || silent(*caller, now))
      caller = callers_.erase(caller);
    else
      ++caller;
  }
}

}  // namespace

Result<std::unique_ptr<NodeBeats>> NodeBeats::start(NodeBeatsConfig config) {
  auto listener = listen_unix(config.ways.socket);
  if (!listener) return std::unexpected(listener.error());
  return std::make_unique<BeatLoop>(std::move(config), *listener);
}

}  // namespace troupe
