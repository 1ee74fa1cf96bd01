// The ranks of a headed group that other nodes run (RankProxy there): what ShardGroup wants of them
// becomes orders to their nodes, and what the nodes report becomes ShardGroup's input. Pure; part
// of the head's supervisor, one a group.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cluster/rank_messages.h"
#include "cluster/shard_group.h"

namespace troupe {

class RemoteRanks {
 public:
  /// `nodes`: by rank of the group; `own` is this node.
  RemoteRanks(GroupId group, std::string own, const std::vector<std::string>& nodes);

  bool runs(const std::string& node) const { return nodes_.contains(node); }
  /// Whether another node runs the rank.
  bool has(int32_t rank) const { return ranks_.contains(rank); }

  // What ShardGroup wants of a rank that has() names.
  void load(const group_out::Load& load, LoadOrder order);
  /// Of the generation that its node was last ordered to load.
  void join(int32_t rank, const RankJoin& join);
  /// Abort, and Kill too: the node kills who does not obey, it is told once more.
  void end(int32_t rank);
  /// Orders that are to be sent now, by node, each once.
  std::vector<std::pair<std::string, RanksOrder>> take_orders();

  /// The node may be spoken to, again or for the first time: what it was told last, to be sent.
  void joined(const std::string& node);
  /// What is new in its report and what that means for the group, in order. Ranks that are not the
  /// node's mean nothing and are counted.
  std::vector<GroupInput> reported(const std::string& node, const RanksReport& report);
  /// The node was found dead or is another process: all its ranks are lost.
  std::vector<GroupInput> gone(const std::string& node, const std::string& why);
  /// Why one of them is tried again now and then only, with its place; nullopt: none is.
  std::optional<std::string> failed() const;
  uint64_t dropped() const { return dropped_; }

 private:
  struct Rank {
    std::string node;
    RankState told;    ///< as last reported; its process zero: none
    Generation ended;  ///< the process was told to end it; zero: it was not
  };
  struct Node {
    std::optional<RanksOrder> order;  ///< the last one
    bool unsent = false;
  };
  static void news(const RankState& before, const RankState& now, std::vector<GroupInput>& out);

  GroupId group_;
  std::map<int32_t, Rank> ranks_;
  std::map<std::string, Node> nodes_;
  uint64_t dropped_ = 0;
};

}  // namespace troupe
