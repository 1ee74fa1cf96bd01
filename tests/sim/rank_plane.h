// The memory that the ranks of one generation on one host share, as far as a step needs it: a step
// ends only while every rank of it is there and runs. What the node promises of it is checked here.
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
  size_t ranks = 0;                               ///< that share it
  std::vector<std::weak_ptr<ShardHost>> present;  ///< of them: who has loaded
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
