// The actor tree as JSON: the body of /admin/tree and of `troupe status --json` (one shape,
// documented in docs/status.md).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/node_supervisor.h"

namespace troupe {

struct NodeTree {
  std::string name;
  Incarnation incarnation;
  /// "ready", "starting", "draining"; "suspect": it may be cut off, or of another node, it may have
  /// hung; of another node also "stopped"
  std::string state;
  std::vector<ActorStatus> actors;
  std::string reason;           ///< why it is not in, how old its word is, whom it does not hear
  bool config_differs = false;  ///< from that of the node that tells
  std::optional<LinkFigures> link;  ///< as its link last reported; for metrics
};

/// term and leader are 0 and "" before there is an election.
std::string status_json(const std::string& cluster, const std::vector<NodeTree>& nodes);

/// One actor of the tree, the same object as there; empty if there is none.
std::string actor_json(const NodeTree& node, std::string_view id);

}  // namespace troupe
