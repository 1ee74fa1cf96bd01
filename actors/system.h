// The CAF actor system of a process.
#pragma once

#include <caf/all.hpp>

namespace troupe {

/// Two scheduler threads with the `sharing` policy (least idle CPU, shortest round trips), no
/// middleman workers; CAF's heartbeats are clean-up only: our own beats decide who is dead.
class SystemConfig : public caf::actor_system_config {
 public:
  SystemConfig();
};

}  // namespace troupe
