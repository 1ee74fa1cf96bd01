// The admin port of a node: the actor tree, its page and the node's metrics. Loopback only;
// everything but /livez and the page itself needs the token of the state directory as a bearer
// token. Own io thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "config/result.h"
#include "net/status_json.h"

namespace troupe {

struct AdminConfig {
  int listener = -1;  ///< bound and listening
  std::string token;  ///< 64 hex digits
  /// Called on the port's thread; must not block.
  std::function<std::string()> tree;              ///< JSON of the whole tree
  std::function<std::string(std::string)> actor;  ///< JSON of one actor by id; empty: unknown
  std::function<std::string()> metrics;           ///< Prometheus text
};

class AdminServer {
 public:
  static Result<std::unique_ptr<AdminServer>> start(AdminConfig config);
  virtual ~AdminServer() = default;
};

/// Process, actor and rank series of a node.
std::string node_metrics_text(const NodeTree& tree);

}  // namespace troupe
