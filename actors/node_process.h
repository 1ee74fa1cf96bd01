// A node: supervisor and health actors, the admin port, and the processes it runs. Owns the calling
// (main) thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "actors/log.h"
#include "config/cluster_config.h"
#include "config/result.h"

namespace troupe {

/// What to do when a model can't be loaded: `serve` gives up with the reason, a node of a cluster
/// tries again.
enum class OnLoadFailure : uint8_t { retry, give_up };

struct NodeOptions {
  ClusterConfig config;
  std::string node;       ///< name of this node in the config
  std::string state_dir;  ///< of this node
  LogFormat log = LogFormat::text;
  OnLoadFailure on_load_failure = OnLoadFailure::retry;
  /// Says a reason to give up in the words of who started this; none: as it is.
  std::function<Error(Error)> reword;
};

/// Runs until drained (SIGTERM, SIGINT; a second one ends the drain at once), then ends the
/// process: 0, or 1 when `serve` gave up. Prints `ready http://HOST:PORT` for each router of this
/// node once it can answer. Returns only if the node could not start; the error is for the person
/// who tried.
Result<void> run_node(NodeOptions options);

}  // namespace troupe
