// What one node of a config runs and what it tells each of its processes: read from the config, the
// placement and the state directory, with the listeners bound that processes get. Main thread, once
// a life of the node.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "actors/node_process.h"
#include "actors/state_dir.h"
#include "cluster/node_supervisor.h"
#include "net/child_start.h"

namespace troupe {

struct NodePlan {
  NodeSupervisorConfig machine;
  std::map<std::string, ChildStart> starts;             ///< by child, as what follows
  std::map<std::string, std::vector<int>> descriptors;  ///< for its first packet; kept open here
  std::map<std::string, std::string> addresses;         ///< of routers, for people
  std::map<std::string, std::string> doors;             ///< of nodes that this one dials
  std::map<std::string, Digest> files;                  ///< of ranks that load a verified file
};

/// Errors are for the person who started the node: a port in use, a file that is missing, ranks
/// that do not fit.
Result<NodePlan> plan_node(const NodeOptions& options, const StateDir& state,
                           Incarnation incarnation);

}  // namespace troupe
