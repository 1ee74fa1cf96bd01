// A whole cluster in one thread under virtual time: processes on hosts, ordered links, pauses,
// deaths, ways between hosts that open and close. Everything that happens is an event on one queue
// and every random choice comes from one seed, so a seed replays a run exactly.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/ids.h"
#include "config/time.h"

namespace troupe::sim {

class World;

/// Anything that can be killed or stopped. Inputs of a stopped process wait; those of a dead one
/// vanish.
struct Process {
  Process(World& w, std::string n, Incarnation i) : world(w), name(std::move(n)), incarnation(i) {}
  virtual ~Process() = default;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  virtual void stopping() {}
  /// Ran late by `pause`; what waited comes after this.
  virtual void resumed(Duration) {}

  World& world;
  std::string name;
  Incarnation incarnation;
  int host = 0;
  bool alive = true;
  bool vanished = false;  ///< dead, and its host said nothing of it
  Time stopped_since{}, stopped_until{};
  std::deque<std::function<void()>> held;
};
using ProcessPtr = std::shared_ptr<Process>;

/// A connection between two processes: in order within a direction, until it is cut or an end dies.
/// What a dead process had sent still arrives, and then its peer is told. Between hosts, what can't
/// pass is held until the way is open again, as TCP does.
struct Link {
  struct End {
    ProcessPtr process;
    std::function<void()> lost;              ///< run there, once, after all that was on its way
    Time last{};                             ///< arrival of the newest message towards this end
    std::deque<std::function<void()>> held;  ///< on its way to this end
    bool told = false;                       ///< that it is lost: nothing arrives after that
  };
  End ends[2];
  bool closed = false;  ///< no new messages
  bool cut = false;     ///< and those on their way are lost
};
using LinkPtr = std::shared_ptr<Link>;

/// What may go wrong at all.
enum class Only : uint8_t {
  anything,
  hangs,  ///< supervisors hang, their beats go on
  links,  ///< link processes are killed
};

/// What goes wrong, drawn from the seed. All zero after the faults have stopped.
struct Faults {
  double drop = 0, duplicate = 0;  ///< of a message between router and batcher
  double journal_drop = 0;
  double stop_after_send = 0;
  double hang = 0, step_error = 0, nonfinite = 0;  ///< of a step
  double load_failure = 0, spawn_failure = 0;
  double cache_loss = 0;
  Duration kill_every{}, stop_every{}, cut_every{}, restart_every{};    ///< mean; 0: never
  Duration node_every{}, way_every{}, node_hang_every{}, link_every{};  ///< with several nodes
  bool node_dies = false;
};

class World {
 public:
  World(uint64_t seed, bool tracing) : tracing_(tracing), random_(seed) {}
  ~World();

  // -- chance --
  bool chance(double p) { return p > 0 && std::uniform_real_distribution<>(0, 1)(random_) < p; }
  uint64_t below(uint64_t n) { return random_() % n; }
  int32_t pick(int32_t low, int32_t high) {
    return low + static_cast<int32_t>(below(static_cast<uint64_t>(high - low + 1)));
  }
  Duration between(Duration low, Duration high) {
    return low +
           Duration(static_cast<int64_t>(below(static_cast<uint64_t>((high - low).count() + 1))));
  }
  uint64_t fresh_id() { return random_() | 1; }

  // -- time --
  Time now() const { return now_; }
  void at(Time time, std::function<void()> what) {
    events_.push({std::max(time, now_), ++events_made_, std::move(what)});
  }
  /// Runs there, after a delay; waits while it is stopped; never if it is dead by then.
  void post(const ProcessPtr& process, Duration delay, std::function<void()> what);
  /// One event; false when none is left.
  bool run_event();
  uint64_t events() const { return events_run_; }

  // -- processes and links --
  void stop(const ProcessPtr& process, Duration duration);
  void resume(const ProcessPtr& process);
  /// How the other ends of a dead process's links hear of it.
  enum class Death : uint8_t {
    closes,    ///< the kernel closes its sockets
    vanishes,  ///< its host lost power: other hosts hear nothing, until a heartbeat times out
  };
  /// The process is gone: its links close.
  void die(const ProcessPtr& process, Death how = Death::closes);
  LinkPtr connect(const ProcessPtr& a, const ProcessPtr& b, std::function<void()> a_lost,
                  std::function<void()> b_lost);
  /// From the end `from`; `what` runs at the other end.
  void send(const LinkPtr& link, const Process& from, std::function<void()> what);
  /// Closed at `from`'s side, or broken in the middle: what is on its way is lost.
  void cut(const LinkPtr& link);
  std::vector<LinkPtr> open_links() const;

  // -- ways between hosts --
  /// One direction. What is sent meanwhile is held.
  void shut(int from, int to);
  void open(int from, int to);
  void open_all();
  /// The process that carries the streams of a host stands still, or goes on.
  void freeze(int host);
  void thaw(int host);
  bool is_open(int from, int to) const;
  /// For who does not go through the processes that carry streams.
  bool passes(int from, int to) const { return from == to || !shut_.contains({from, to}); }
  /// `here` closes all its streams with `there`: its own processes are told at once, the others
  /// when they hear of it.
  void close_streams(int here, int there);
  /// When a way was last shut, opened, frozen or thawed.
  Time ways_changed() const { return ways_changed_; }

  // -- verdicts --
  /// The run broke a promise. The first one counts.
  void violation(std::string what);
  const std::string& first_violation() const { return violation_; }
  template <class... Args>
  void expect(bool holds, fmt::format_string<Args...> what, Args&&... args) {
    if (!holds) violation(fmt::format(what, std::forward<Args>(args)...));
  }
  template <class... Args>
  void trace(const std::string& who, fmt::format_string<Args...> what, Args&&... args) {
    if (tracing_) print(who, fmt::format(what, std::forward<Args>(args)...));
  }

  Faults faults;
  Duration delay_max = 2ms;

 private:
  struct Event {
    Time time;
    uint64_t order;
    std::function<void()> what;
    bool operator<(const Event& o) const {
      return std::pair(o.time, o.order) < std::pair(time, order);
    }
  };
  void run_or_hold(const ProcessPtr& process, std::function<void()> what);
  void arrive(const LinkPtr& link, int end, std::function<void()> what);
  void flush();
  std::function<void()> loss(const LinkPtr& link, int end);
  void tell_lost(const LinkPtr& link, int end, Duration after);
  void send_loss(const LinkPtr& link, int end, Duration after);
  void print(const std::string& who, const std::string& what) const;

  bool tracing_;
  std::mt19937_64 random_;
  Time now_{1s};
  uint64_t events_made_ = 0, events_run_ = 0;
  std::priority_queue<Event> events_;
  std::vector<LinkPtr> links_;
  std::set<std::pair<int, int>> shut_;
  std::set<int> frozen_;
  Time ways_changed_{};
  std::string violation_;
};

}  // namespace troupe::sim
