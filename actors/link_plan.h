// Which doors and targets a node's link has: a pure function of the config. One dialer a pair of
// processes: the node with the lower name dials the other one, a router dials rank 0 of each group
// on another node.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "actors/state_dir.h"
#include "cluster/node_peers.h"
#include "config/cluster_config.h"
#include "net/file_store.h"
#include "net/link.h"
#include "net/node_beats.h"

namespace troupe {

/// Name of the process that heads a group: its rank 0.
std::string head_process(const GroupPlacement& group);

/// The other nodes as the supervisor of one knows them.
struct PeerPlan {
  std::vector<PeerSpec> peers;               ///< with the groups each heads
  std::map<std::string, std::string> doors;  ///< of those that this node dials
};
/// For `node` of `config`. Fails as place_groups does.
Result<PeerPlan> plan_peers(const ClusterConfig& config, const std::string& node,
                            const StateDir& state);

/// For `node` of `config`, whose sockets lie in `state`. Fails as place_groups does.
Result<LinkWays> plan_link(const ClusterConfig& config, const std::string& node,
                           const StateDir& state);

/// The files of models whose digest the config has, and how the nodes ask each other for them: each
/// asks all others, the next one of the config first.
struct FilePlan {
  std::vector<StoredFile> files;
  FileWays ways;  ///< only with files, and several nodes
};
FilePlan plan_files(const ClusterConfig& config, const std::string& node, const StateDir& state);

/// The same pairs of nodes, for their beats: the node processes go through doors of their own.
BeatWays plan_beats(const ClusterConfig& config, const std::string& node, const StateDir& state);

}  // namespace troupe
