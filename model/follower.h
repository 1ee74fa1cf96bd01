// The life of a rank that is not rank 0: plan after plan, until the group ends.
#pragma once

#include <functional>

#include "config/limits.h"
#include "config/result.h"
#include "model/partition.h"

namespace troupe {

/// Runs the group's steps on this rank, called by its device lane after load(). Returns why they
/// ended: `aborted` after Partition::abort(), else what broke. Each step waits at most `idle` for
/// its plan, so this returns at the latest that long after rank 0 has gone. `stepped` is called
/// after each step.
Error follow_steps(Partition& partition, Duration idle = kFollowIdleMax,
                   const std::function<void()>& stepped = {});

}  // namespace troupe
