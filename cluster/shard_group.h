// The life of one group of ranks: loading -> ready -> (fault) -> a new generation. One-for-all by
// generation: any rank's death, step fault or silence ends the generation; what still lives keeps
// its weights where it can. Ranks of several nodes meet before they load: each says where it
// listens, and once all do, each is told of all. Pure; owned by the supervisor that heads the group
// (the node of rank 0).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "cluster/messages.h"
#include "config/limits.h"

namespace troupe {

namespace group_in {
/// The rank's process said Hello and was accepted.
struct RankUp {
  int32_t rank = 0;
  Incarnation incarnation;
};
/// The rank has no process yet, because something is waited for: a clause for people.
struct RankAwaits {
  int32_t rank = 0;
  std::string what;
};
/// The rank's process is gone (reaped, or its link broke).
struct RankLost {
  int32_t rank = 0;
  Incarnation incarnation;
  std::string why;
};
/// The failure detector's view of the rank's process.
struct RankSuspect {
  int32_t rank = 0;
  Incarnation incarnation;
  bool suspect = false;
};
/// Of a group over several nodes: the rank waits for the others there.
struct Listening {
  Incarnation incarnation;
  RankListening note;
};
struct Loaded {
  Incarnation incarnation;
  LoadReport report;
};
struct Fault {
  Incarnation incarnation;
  StepFault fault;
};
/// What Form asked for could not be had.
struct Unformed {
  Generation generation;
  Error error;
};
/// Take no more processes. A loaded group is `draining` until it loses a rank, any other is
/// `stopped`.
struct Drain {};
struct Tick {};
}  // namespace group_in
using GroupInput =
    std::variant<group_in::RankUp, group_in::RankAwaits, group_in::RankLost, group_in::RankSuspect,
                 group_in::Listening, group_in::Loaded, group_in::Fault, group_in::Unformed,
                 group_in::Drain, group_in::Tick>;

namespace group_out {
/// Groups of several ranks only, before the orders to load: a generation of these processes, by
/// rank, begins and needs its data plane.
struct Form {
  Generation generation;
  std::vector<Incarnation> ranks;
};
/// It is over: whoever waits for another rank must be let go at once. Follows each Form.
struct Disband {
  Generation generation;
};
/// Order the rank to load under `generation`.
struct Load {
  int32_t rank = 0;
  Incarnation incarnation;
  Generation generation;
};
/// All ranks of a group over several nodes listen: this one is told where, once.
struct Join {
  int32_t rank = 0;
  Incarnation incarnation;
  Generation generation;
  std::vector<HostPort> addresses;  ///< by rank
};
struct Abort {
  int32_t rank = 0;
  Incarnation incarnation;
  Generation generation;
};
/// The rank did not obey within its deadline, or cannot be trusted: SIGKILL.
struct Kill {
  int32_t rank = 0;
  Incarnation incarnation;
  std::string why;
};
/// A rank of the current generation could not load. It says why and ends by itself.
struct LoadFailed {
  Error error;
};
/// State, generation or reason changed: routers must know.
struct Announce {};
}  // namespace group_out
using GroupEffect =
    std::variant<group_out::Form, group_out::Disband, group_out::Load, group_out::Join,
                 group_out::Abort, group_out::Kill, group_out::LoadFailed, group_out::Announce>;

class ShardGroup {
 public:
  /// `timing_scale` stretches kAbortDeadline and kLoadTimeout. `nodes`: by rank; empty: all ranks
  /// are on one.
  ShardGroup(GroupId id, int32_t ranks, double timing_scale, std::vector<std::string> nodes = {});

  void step(Time now, const GroupInput& input, std::vector<GroupEffect>& out);
  std::optional<Time> deadline() const;

  GroupState state() const { return state_; }
  Generation generation() const { return generation_; }
  const std::string& reason() const { return reason_; }
  Incarnation head() const { return ranks_.front().incarnation; }
  /// Of rank 0's last successful load.
  const LoadReport& loaded() const { return report_; }
  /// What ranks said of another generation or process than the one that counts.
  uint64_t dropped() const { return dropped_; }
  void check() const;

 private:
  enum class RankState : uint8_t {
    down,      ///< no process
    waiting,   ///< a fresh process that holds nothing
    loading,   ///< ordered to load the current generation
    loaded,    ///< serves the current generation
    aborting,  ///< told to end
  };
  struct Rank {
    RankState state = RankState::down;
    Incarnation incarnation;
    bool suspect = false;
    Time due{};                          ///< of loading or aborting
    std::optional<HostPort> address;     ///< where it listens, in a generation over several nodes
    Digest weights_id{}, numerics_id{};  ///< once loaded
  };
  bool current(int32_t rank, Incarnation incarnation) const;
  void end_generation(Time now, std::string why, std::vector<GroupEffect>& out);
  void start_loading(Time now, std::vector<GroupEffect>& out);
  void settle(std::vector<GroupEffect>& out);
  void on_up(Time now, const group_in::RankUp& up, std::vector<GroupEffect>& out);
  void on_awaits(const group_in::RankAwaits& awaits, std::vector<GroupEffect>& out);
  void on_lost(Time now, const group_in::RankLost& lost, std::vector<GroupEffect>& out);
  void on_listening(const group_in::Listening& listening, std::vector<GroupEffect>& out);
  void on_loaded(Time now, const group_in::Loaded& loaded, std::vector<GroupEffect>& out);
  void on_fault(Time now, const group_in::Fault& fault, std::vector<GroupEffect>& out);
  void fail_load(Time now, Error error, std::vector<GroupEffect>& out);
  std::optional<Error> misfit(const LoadReport& report) const;
  void overdue(Time now, std::vector<GroupEffect>& out);
  bool all_loaded() const;
  /// The rank's process, for people.
  std::string process_of(size_t rank) const;
  std::string unmet() const;

  GroupId id_;
  Duration abort_deadline_, load_timeout_;
  std::vector<Rank> ranks_;
  Generation generation_;
  GroupState state_ = GroupState::starting;
  std::string reason_ = "the shard process has not started yet";
  LoadReport report_;
  bool draining_ = false;
  bool formed_ = false;             ///< a Form has no Disband yet
  std::vector<std::string> nodes_;  ///< by rank; empty: all ranks are on one
  uint64_t dropped_ = 0;
};

}  // namespace troupe
