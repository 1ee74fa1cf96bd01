// The memory that the ranks of one generation share, as far as a step needs it: rank 0's step ends
// only while every other rank is there and runs. What the node promises of it is checked here.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "cluster/node_supervisor.h"
#include "tests/sim/world.h"

namespace troupe::sim {

struct NodeHost;
struct ShardHost;

struct RankPlane {
  GroupId group;
  Generation generation;
  std::vector<std::weak_ptr<ShardHost>> ranks;  ///< null until the rank has loaded
  bool over = false;

  /// Every rank has come and would take part in a step now.
  bool complete() const;
};

/// Of one node, in all its life.
class RankPlanes {
 public:
  void share(NodeHost& node, const node_out::Share& share);
  void unshare(NodeHost& node, const node_out::Unshare& over);

 private:
  std::map<GroupId, std::shared_ptr<RankPlane>> planes_;
};

}  // namespace troupe::sim
