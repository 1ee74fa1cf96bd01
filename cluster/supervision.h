// Restart policy of a node's children, after Erlang/OTP's one_for_one: back-off, a budget of deaths
// in a window, and then `failed` with one try each kFailedRetry, never a storm and never silence.
// Pure; part of NodeSupervisor.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "config/ids.h"
#include "config/limits.h"

namespace troupe {

enum class ChildState : uint8_t {
  starting,  ///< to be spawned now, or being spawned
  running,
  backoff,  ///< died; spawned again at `retry_at`
  failed,   ///< died once more than kRestartBudget in kRestartWindow; one try each kFailedRetry
  stopped,  ///< asked to end; not spawned again
};
std::string_view name_of(ChildState state);

namespace supervision_in {
struct Add {
  std::string child;
};
struct Spawned {
  std::string child;
  Incarnation incarnation;
  int64_t pid = 0;
};
struct SpawnFailed {
  std::string child;
  std::string reason;
};
/// Reaped. `how`: "exit status 70", "signal 9 (SIGKILL)".
struct Exited {
  std::string child;
  Incarnation incarnation;
  std::string how;
};
/// End it and do not start it again.
struct Stop {
  std::string child;
};
/// Let it run, but do not start it again once it is gone. Without a running process: as Stop.
struct Retire {
  std::string child;
};
/// End it and start it again at once, without counting a death; one that waits for its next try is
/// tried now. Ignored once stopped or retired.
struct Restart {
  std::string child;
};
struct Tick {};
}  // namespace supervision_in
using SupervisionInput =
    std::variant<supervision_in::Add, supervision_in::Spawned, supervision_in::SpawnFailed,
                 supervision_in::Exited, supervision_in::Stop, supervision_in::Retire,
                 supervision_in::Restart, supervision_in::Tick>;

namespace supervision_out {
/// Answered by exactly one Spawned or SpawnFailed.
struct Spawn {
  std::string child;
};
/// The child's running process must end (its lifeline is closed; SIGKILL follows after
/// kAbortDeadline).
struct End {
  std::string child;
  Incarnation incarnation;
};
/// For logs: the state of a child changed.
struct Changed {
  std::string child;
  ChildState state = ChildState::starting;
  std::string why;
};
}  // namespace supervision_out
using SupervisionEffect =
    std::variant<supervision_out::Spawn, supervision_out::End, supervision_out::Changed>;

class Supervision {
 public:
  /// What the end of a running process leads to.
  enum class OnExit : uint8_t { count_death, start_again, stay_stopped };
  struct Child {
    ChildState state = ChildState::starting;
    OnExit on_exit = OnExit::count_death;
    bool spawning = false;    ///< Spawn is not answered yet; may outlast a Stop
    Incarnation incarnation;  ///< of the running process
    int64_t pid = 0;
    uint32_t restarts = 0;  ///< spawns after the first
    uint32_t spawns = 0;
    int in_a_row = 0;  ///< deaths since it last ran for kRestartWindow: the back-off's exponent
    std::string last_error;
    Time retry_at{}, started{};
    std::deque<Time> deaths;  ///< within kRestartWindow, at most kRestartBudget
    /// No process, none on its way, none to come.
    bool gone() const { return state == ChildState::stopped && pid == 0 && !spawning; }
  };

  void step(Time now, const SupervisionInput& input, std::vector<SupervisionEffect>& out);
  std::optional<Time> deadline() const;
  const std::map<std::string, Child>& children() const { return children_; }
  const Child* find(const std::string& name) const;
  void check() const;

 private:
  void spawn(const std::string& name, Child& child, std::vector<SupervisionEffect>& out);
  void on_exited(Time now, const supervision_in::Exited& exited,
                 std::vector<SupervisionEffect>& out);
  void died(Time now, const std::string& name, Child& child, std::string why,
            std::vector<SupervisionEffect>& out);
  std::map<std::string, Child> children_;
};

/// Of a shard process that failed, for people: a clause.
std::string died_too_often(const Supervision::Child& child);

}  // namespace troupe
