// Which doors and targets a node's link has: a pure function of the config. One dialer a pair of
// processes: the node with the lower name dials the other one, a router dials rank 0 of each group
// on another node.
#pragma once

#include <functional>
#include <string>

#include "actors/state_dir.h"
#include "config/cluster_config.h"
#include "net/link.h"
#include "net/node_beats.h"

namespace troupe {

/// Name of the process that heads a group: its rank 0.
std::string head_process(const GroupPlacement& group);

/// For `node` of `config`, whose sockets lie in `state`. Fails as place_groups does.
Result<LinkWays> plan_link(const ClusterConfig& config, const std::string& node,
                           const StateDir& state);

/// The same pairs of nodes, for their beats: the node processes go through doors of their own.
BeatWays plan_beats(const ClusterConfig& config, const std::string& node, const StateDir& state);

}  // namespace troupe
