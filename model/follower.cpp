#include "model/follower.h"

namespace troupe {

Error follow_steps(Partition& partition, Duration idle, const std::function<void()>& stepped) {
  for (;;) {
    if (auto step = partition.follow(idle); !step) return step.error();
    if (stepped) stepped();
  }
}

}  // namespace troupe
