// A child's way to its node: dials the node's socket and greets it. Blocking; used once at the
// start of a process.
#pragma once

#include <caf/all.hpp>

#include "config/result.h"
#include "net/child_start.h"

namespace troupe {

/// The node's supervisor actor. unavailable with a sentence after 5 s.
Result<caf::actor> dial_node(caf::actor_system& system, const caf::actor& middleman,
                             const std::string& socket);

Hello hello_of(const ChildStart& start);

}  // namespace troupe
