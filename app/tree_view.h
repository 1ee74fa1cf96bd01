// The actor tree for people. Pure.
#pragma once

#include <string>

#include "net/client_json.h"

namespace troupe {
/// Processes under their node, actors under their process; one line each.
std::string render_tree(const ClusterTree& tree);
}  // namespace troupe
