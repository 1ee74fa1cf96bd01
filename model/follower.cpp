#include "model/follower.h"

namespace troupe {

Error follow_steps(Partition& partition, Duration idle) {
  for (;;)
    if (auto step = partition.follow(idle); !step) return step.error();
}

}  // namespace troupe
