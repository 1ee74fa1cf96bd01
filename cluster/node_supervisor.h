// Everything one node decides about its own processes: which to run, who may speak, when a group
// serves, what routers and other nodes are told, and how to end. Owns Supervision, Membership, one
// ShardGroup a group it heads (with RemoteRanks if other nodes run some of its ranks), one
// RankProxy a group it lends ranks to, the journal copies of its routers and NodePeers, whose
// groups stand in the routing table beside its own. Drain: within limits.drain routers finish what
// runs, then groups what other nodes' routers have there; then the shards end, then the link;
// nothing is spawned any more. Pure; owned by the supervisor actor.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "cluster/failure_detector.h"
#include "cluster/journal_store.h"
#include "cluster/membership.h"
#include "cluster/messages.h"
#include "cluster/node_peers.h"
#include "cluster/rank_proxy.h"
#include "cluster/remote_ranks.h"
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
  LoadOrder order;  ///< generation, rank and hosts are filled in
  int32_t ranks = 1;
  std::string socket;              ///< where rank 0 listens
  std::vector<std::string> nodes;  ///< by rank; empty: all here. Rank 0's is this one.
};

/// Ranks that this node runs of a group which another one heads.
struct LentRanks {
  GroupId group;
  std::string model, head;  ///< the head's node
  int32_t threads = 1;      ///< of each rank here
};

struct NodeSupervisorConfig {
  std::string cluster, node, build;
  uint32_t wire_version = 0;
  Digest config_digest{};
  Incarnation incarnation;  ///< of this node process
  std::vector<ChildSpec> children;
  std::vector<HeadedGroup> groups;
  Limits limits;
  std::vector<PeerSpec> peers;  ///< the other nodes, in the order of the config
  std::vector<LentRanks> lent;
  Digest rank_secret{};  ///< of this incarnation: keys of generations over several hosts come of it
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
/// A Spawn is not carried out yet, because something is waited for: a clause for people.
struct SpawnWaits {
  std::string child, what;
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
/// The last DialPeer of this node ended; link zero: nobody answered.
struct PeerDialled {
  std::string node;
  PeerLinkId link;
};
/// From another node's supervisor: `node` as it was dialled or as its link proved it, `incarnation`
/// of the process that sent it.
struct FromPeer {
  std::string node;
  Incarnation incarnation;
  Message message;
  PeerLinkId link;
};
struct PeerLost {
  std::string node;
  PeerLinkId link;
};
/// The failure detector's verdict on a child, or on another node by its name.
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
    std::variant<node_in::Start, node_in::Spawned, node_in::SpawnFailed, node_in::SpawnWaits,
                 node_in::Exited, node_in::FromChild, node_in::LinkLost, node_in::PeerDialled,
                 node_in::FromPeer, node_in::PeerLost, node_in::Judged, node_in::ShareFailed,
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
/// To another node's supervisor: over `link`, or if that is zero over the one this incarnation
/// joined by; dropped if it is gone. Of a NodeReport the shell adds the node's own actors.
struct ToPeer {
  std::string node;
  Incarnation incarnation;
  Message message;
  PeerLinkId link;
};
/// Dial the supervisor of that node through the link; answered by PeerDialled.
struct DialPeer {
  std::string node;
};
/// What comes over this link counts no more; its end need not be told.
struct DropPeer {
  std::string node;
  PeerLinkId link;
};
/// Found dead: forget all links to it. The link process is told to cut its streams.
struct CutPeer {
  std::string node;
};
/// For the health actor: the node was heard.
struct PeerBeat {
  std::string node;
  Incarnation incarnation;
};
/// A generation begins of which several ranks are here and share memory: make it and pass it to
/// each process over its lifeline, under this generation. Ahead of the orders to load.
struct Share {
  struct Rank {
    std::string child;
    Incarnation incarnation;
  };
  GroupId group;
  Generation generation;
  std::vector<Rank> ranks;  ///< by rank, of those that run here
};
/// It is over: wake all who wait in its memory and let it go. Follows each Share.
struct Unshare {
  GroupId group;
  Generation generation;
};
/// For the health actor.
struct Watch {
  std::string child;  ///< or another node
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
                 node_out::LoadFailed, node_out::Serving, node_out::ToPeer, node_out::DialPeer,
                 node_out::DropPeer, node_out::CutPeer, node_out::PeerBeat, node_out::Stopped>;
using NodeEffects = std::vector<NodeEffect>;

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
  /// "ready", "starting" or "draining": what its rows add up to; "suspect": it may be cut off.
  std::string state() const;
  const NodePeers& peers() const { return peers_; }
  bool draining() const { return draining_; }
  const Membership& membership() const { return membership_; }
  const std::map<std::string, ProcessReport>& reports() const { return membership_.reports(); }
  const Supervision& supervision() const { return supervision_; }
  /// Messages that count for nothing: of strangers, stale or misplaced.
  uint64_t dropped() const;
  void check() const;

 private:
  /// Of a rank whose process runs here, whoever heads its group.
  using RankEvent = std::variant<group_in::RankUp, group_in::RankAwaits, group_in::RankLost,
                                 group_in::RankSuspect, group_in::Listening, group_in::Loaded,
                                 group_in::Fault, group_in::Unformed, group_in::Drain>;
  struct Lent {
    LentRanks terms;
    RankProxy proxy;
  };
  const ChildSpec* spec(const std::string& name) const;
  void on_spawned(Time now, const node_in::Spawned& spawned, NodeEffects& out);
  void on_spawn_waits(Time now, const node_in::SpawnWaits& waits, NodeEffects& out);
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
  void drain_groups(Time now, NodeEffects& out);
  bool all_gone(Role role) const;
  void stop_all(Time now, Role role, NodeEffects& out);
  void supervise(Time now, const SupervisionInput& input, NodeEffects& out);
  // -- ranks: node_supervisor_ranks.cpp
  void adopt_groups();
  void rank_event(Time now, GroupId group, const RankEvent& event, NodeEffects& out);
  void group_step(Time now, GroupId group, const GroupInput& input, NodeEffects& out);
  void group_effect(GroupId group, const GroupEffect& effect, NodeEffects& out);
  bool remote_effect(GroupId group, const GroupEffect& effect, NodeEffects& out);
  void proxy_step(Time now, GroupId group, const ProxyInput& input, NodeEffects& out);
  void proxy_effect(GroupId group, ProxyEffect& effect, NodeEffects& out);
  void send_orders(GroupId group, NodeEffects& out);
  void peer_joined(Time now, const std::string& node, NodeEffects& out);
  void peer_gone(Time now, const peer_out::Gone& gone, NodeEffects& out);
  void deliver(Time now, const peer_out::Deliver& message, NodeEffects& out);
  void tell_peer(const std::string& node, Message message, NodeEffects& out) const;
  void share(GroupId group, Generation generation, const std::vector<Incarnation>& processes,
             NodeEffects& out) const;
  RankJoin join_of(GroupId group, const group_out::Join& join) const;
  const HeadedGroup& headed(GroupId group) const;
  /// Ranks of the group that run here, ascending.
  std::vector<int32_t> ranks_here(GroupId group) const;
  // --
  void on_peer(Time now, const PeerInput& input, NodeEffects& out);
  void cut_peer(const std::string& node, NodeEffects& out);
  void report_to_peers(Time now, NodeEffects& out);
  std::vector<GroupEndpoint> own_endpoints() const;
  void describe_rank(const ChildSpec& child, ActorStatus& row) const;
  std::vector<GroupEndpoint> endpoints() const;
  void publish(NodeEffects& out);
  std::string child_of(GroupId group, int32_t rank) const;

  NodeSupervisorConfig config_;
  Supervision supervision_;
  Membership membership_;
  std::map<GroupId, ShardGroup> groups_;
  std::map<GroupId, RemoteRanks> remote_;  ///< of headed groups over several nodes
  std::map<GroupId, Lent> lent_;
  JournalStore journal_;
  NodePeers peers_;
  uint64_t reports_ = 0;        ///< version of the last NodeReport
  bool report_wanted_ = false;  ///< before it is due
  Time report_due_{};
  RoutingTable table_;
  bool table_dirty_ = false;  ///< something it is made from changed in this step
  uint64_t dropped_ = 0;
  bool draining_ = false, groups_draining_ = false, shards_ending_ = false, stopped_ = false;
  std::set<std::string> finishing_;  ///< heads that were told to drain and still have requests
  Time drain_due_{}, gone_by_{};
};

}  // namespace troupe
