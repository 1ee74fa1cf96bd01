// Everything one node decides about its own processes: which to run, who may speak, when a group
// serves, what routers are told, and how to end. Owns Supervision, Membership, one ShardGroup a
// group and the journal copies of its routers. Drain: routers finish what runs within limits.drain,
// then the shards end; nothing is spawned any more. Pure; owned by the supervisor actor.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "cluster/failure_detector.h"
#include "cluster/journal_store.h"
#include "cluster/membership.h"
#include "cluster/messages.h"
#include "cluster/shard_group.h"
#include "cluster/supervision.h"
#include "config/limits.h"

namespace troupe {

/// One process this node runs.
struct ChildSpec {
  std::string name;         ///< "n1/router", "n1/shard/smollm2.0.0"
  Role role = Role::shard;  ///< router, shard or link
  GroupId group;            ///< shards only
  int32_t rank = 0;
  bool operator==(const ChildSpec&) const = default;
};

/// A group this node heads.
struct HeadedGroup {
  LoadOrder order;  ///< generation and rank are filled in
  int32_t ranks = 1;
  std::string socket;  ///< where rank 0 listens
};

struct NodeSupervisorConfig {
  std::string cluster, node, build;
  uint32_t wire_version = 0;
  Digest config_digest{};
  Incarnation incarnation;  ///< of this node process
  std::vector<ChildSpec> children;
  std::vector<HeadedGroup> groups;
  Limits limits;
};

namespace node_in {
struct Start {};
struct Spawned {
  std::string child;
  Incarnation incarnation;
  int64_t pid = 0;
};
struct SpawnFailed {
  std::string child, reason;
};
struct Exited {
  std::string child;
  Incarnation incarnation;
  std::string how;
};
/// From a link. `child` and `incarnation` are those of the Hello this link began with (or of this
/// very Hello).
struct FromChild {
  std::string child;
  Incarnation incarnation;
  Message message;
};
struct LinkLost {
  std::string child;
  Incarnation incarnation;
};
/// The failure detector's verdict on a child.
struct Judged {
  std::string child;
  Incarnation incarnation;
  Verdict verdict = Verdict::alive;
};
/// The memory that a Share asked for can't be had.
struct ShareFailed {
  GroupId group;
  Generation generation;
  Error error;
};
/// An operator restarts a child by hand (or a test).
struct Restart {
  std::string child;
};
/// First: drain; again: end now.
struct Drain {};
struct Tick {};
}  // namespace node_in
using NodeInput =
    std::variant<node_in::Start, node_in::Spawned, node_in::SpawnFailed, node_in::Exited,
                 node_in::FromChild, node_in::LinkLost, node_in::Judged, node_in::ShareFailed,
                 node_in::Restart, node_in::Drain, node_in::Tick>;

namespace node_out {
struct Spawn {
  ChildSpec child;
};
/// End the child's process: close its lifeline; SIGKILL at once if `force`, else after
/// kAbortDeadline.
struct End {
  std::string child;
  Incarnation incarnation;
  bool force = false;
};
struct ToChild {
  std::string child;
  Incarnation incarnation;
  Message message;
};
/// A generation begins whose ranks share memory: make it and pass it to each process over its
/// lifeline, under this generation. Ahead of the orders to load.
struct Share {
  struct Rank {
    std::string child;
    Incarnation incarnation;
  };
  GroupId group;
  Generation generation;
  std::vector<Rank> ranks;  ///< by rank
};
/// It is over: wake all who wait in its memory and let it go. Follows each Share.
struct Unshare {
  GroupId group;
  Generation generation;
};
/// For the health actor.
struct Watch {
  std::string child;
  Incarnation incarnation;
};
struct Forget {
  std::string child;
  Incarnation incarnation;
};
/// One event for the log: what happened and to whom.
struct Event {
  const char* what = "";
  std::string child, detail;
};
/// A group could not load its model. `troupe serve` gives up then; a node tries again.
struct LoadFailed {
  GroupId group;
  Error error;
};
/// A router can answer (its first time, or again after it could not).
struct Serving {
  std::string child;
};
/// All children are gone after Drain, or did not end within kEndingMax (they die with the node).
/// Emitted once; the process may exit.
struct Stopped {};
}  // namespace node_out
using NodeEffect =
    std::variant<node_out::Spawn, node_out::End, node_out::ToChild, node_out::Share,
                 node_out::Unshare, node_out::Watch, node_out::Forget, node_out::Event,
                 node_out::LoadFailed, node_out::Serving, node_out::Stopped>;
using NodeEffects = std::vector<NodeEffect>;

/// One row of the actor tree.
struct ActorStatus {
  std::string id;
  Role role = Role::client;
  int64_t pid = 0;
  std::string state, reason;  ///< starting ready draining suspect fenced failed stopped
  uint32_t generation = 0, restarts = 0;
  std::string last_error;
  uint64_t mailbox_depth = 0;
  Duration mailbox_age{}, last_step_age{};
  std::string model, describe;
  int32_t group = -1, rank = -1;
};

class NodeSupervisor {
 public:
  explicit NodeSupervisor(NodeSupervisorConfig config);

  void step(Time now, const NodeInput& input, NodeEffects& out);
  std::optional<Time> deadline() const;

  /// As routers know it: the same version has the same content.
  const RoutingTable& routing() const { return table_; }
  /// Rows for the children's processes and their actors; the node's own actors are added by the
  /// shell.
  std::vector<ActorStatus> tree() const;
  bool draining() const { return draining_; }
  const Membership& membership() const { return membership_; }
  const std::map<std::string, ProcessReport>& reports() const { return membership_.reports(); }
  const Supervision& supervision() const { return supervision_; }
  uint64_t dropped() const { return dropped_; }
  void check() const;

 private:
  const ChildSpec* spec(const std::string& name) const;
  void on_spawned(Time now, const node_in::Spawned& spawned, NodeEffects& out);
  void on_exited(Time now, const node_in::Exited& exited, NodeEffects& out);
  void on_judged(Time now, const node_in::Judged& judged, NodeEffects& out);
  void on_tick(Time now, NodeEffects& out);
  void on_hello(Time now, const Hello& hello, NodeEffects& out);
  void on_message(Time now, const node_in::FromChild& from, NodeEffects& out);
  void on_shard_message(Time now, const ChildSpec& child, const node_in::FromChild& from,
                        NodeEffects& out);
  void on_router_message(Time now, const node_in::FromChild& from, NodeEffects& out);
  void lost(Time now, const std::string& child, Incarnation incarnation, const std::string& why,
            NodeEffects& out);
  void give_up(Time now, const std::string& child, Incarnation incarnation, const std::string& why,
               NodeEffects& out);
  void drain(Time now, NodeEffects& out);
  void advance_drain(Time now, NodeEffects& out);
  void supervise(Time now, const SupervisionInput& input, NodeEffects& out);
  void group_step(Time now, GroupId group, const GroupInput& input, NodeEffects& out);
  void share(GroupId group, const group_out::Form& form, NodeEffects& out) const;
  std::vector<GroupEndpoint> endpoints() const;
  void publish(NodeEffects& out);
  std::string child_of(GroupId group, int32_t rank) const;

  NodeSupervisorConfig config_;
  Supervision supervision_;
  Membership membership_;
  std::map<GroupId, ShardGroup> groups_;
  JournalStore journal_;
  RoutingTable table_;
  bool table_dirty_ = false;  ///< something it is made from changed in this step
  uint64_t dropped_ = 0;
  bool draining_ = false, shards_ending_ = false, stopped_ = false;
  Time drain_due_{}, gone_by_{};
};

}  // namespace troupe
