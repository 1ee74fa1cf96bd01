// The ranks that this node runs of a group which another node heads. The head decides; this machine
// hands its orders to the processes, tells it how they stand, and ends a generation by itself where
// the head can't or need not be asked: a rank of this node is lost, the head's node is, or this
// node drains. Nothing runs on without a head. Pure; owned by the supervisor of the node.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "cluster/rank_messages.h"
#include "cluster/shard_group.h"

namespace troupe {

namespace proxy_in {
/// The head's node may be spoken to, for the first time or again over another link.
struct HeadJoined {};
/// The head's node was found dead, or another incarnation took its place.
struct HeadGone {};
struct Ordered {
  RanksOrder order;
};
/// A rank's process died too often and is tried again now and then only.
struct RankFailed {
  int32_t rank = 0;
  std::string why;
};
}  // namespace proxy_in
/// Drain: the ranks here end, and none serves again. Unformed: the head is told as of a rank that
/// could not load.
using ProxyInput =
    std::variant<proxy_in::HeadJoined, proxy_in::HeadGone, proxy_in::Ordered, proxy_in::RankFailed,
                 group_in::RankUp, group_in::RankAwaits, group_in::RankLost, group_in::RankSuspect,
                 group_in::Listening, group_in::Loaded, group_in::Fault, group_in::Unformed,
                 group_in::Drain, group_in::Tick>;

namespace proxy_out {
struct Report {
  RanksReport report;
};
/// As group_out::Load, with the head's order.
struct Load {
  Incarnation process;
  LoadOrder order;
};
/// All ranks of the group listen: this one is told where, once.
struct Join {
  int32_t rank = 0;
  Incarnation process;
  RankJoin join;
};
}  // namespace proxy_out
using ProxyEffect =
    std::variant<proxy_out::Report, proxy_out::Load, proxy_out::Join, group_out::Form,
                 group_out::Disband, group_out::Abort, group_out::Kill>;

class RankProxy {
 public:
  /// `ranks`: those of the group that run here, ascending. `timing_scale` stretches kAbortDeadline.
  RankProxy(GroupId group, std::vector<int32_t> ranks, double timing_scale);

  void step(Time now, const ProxyInput& input, std::vector<ProxyEffect>& out);
  std::optional<Time> deadline() const;
  /// How a rank stands, for people.
  struct View {
    Generation generation;  ///< it was ordered to load; zero: none
    std::string unready;    ///< why it does not serve; empty: it does
  };
  View view(int32_t rank) const;
  /// Orders and answers of another generation or process than the one that counts.
  uint64_t dropped() const { return dropped_; }
  void check() const;

 private:
  struct Rank {
    Incarnation process;  ///< zero: none
    std::string why = "the shard process has not started yet";
    bool suspect = false;
    bool failed = false;    ///< `why`
    Generation generation;  ///< it was ordered to load; zero: none
    bool ending = false;    ///< it was told to end
    Time due{};             ///< of ending
    bool met = false;       ///< it was told where the others listen
    std::optional<RankListening> listening;
    std::optional<LoadReport> loaded;
    std::optional<StepFault> fault;
    bool runs() const { return generation.value > 0 && !ending; }
  };
  /// Null unless `process` is the rank's.
  Rank* current(int32_t rank, Incarnation process);
  void on_order(Time now, const RanksOrder& order, std::vector<ProxyEffect>& out);
  void start(const RanksOrder& order, std::vector<ProxyEffect>& out);
  void join(const RankJoin& join, std::vector<ProxyEffect>& out);
  void on_lost(Time now, const group_in::RankLost& lost, std::vector<ProxyEffect>& out);
  /// False: it counts for nothing.
  bool on_answer(const ProxyInput& input);
  void on_unformed(const group_in::Unformed& unformed);
  void end(Time now, const std::string& why, std::vector<ProxyEffect>& out);
  void overdue(Time now, std::vector<ProxyEffect>& out);
  RanksReport report() const;

  GroupId group_;
  Duration abort_deadline_;
  std::map<int32_t, Rank> ranks_;
  Generation generation_;  ///< the newest that this head ordered
  Generation over_;        ///< the newest that this head ended
  bool head_ = false;
  bool draining_ = false;
  bool formed_ = false;  ///< a Form has no Disband yet
  uint64_t dropped_ = 0;
};

}  // namespace troupe
