// The plans submitted to a Partition and not yet waited for, in order, and the abort flag. Shared
// by backends that run a step inside wait() on the device lane's own thread. abort() and sleep()
// are thread-safe.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>

#include "config/result.h"
#include "config/time.h"
#include "model/partition.h"

namespace troupe {

class StepQueue {
 public:
  /// One running and one submitted ahead: no more may be in flight on one pipeline stage.
  static constexpr size_t kInFlightMax = 2;

  Ticket push(const StepPlan& plan);
  /// The plan of `ticket`, which must be the oldest; null when a plan before it was never waited
  /// for.
  const StepPlan* pop(Ticket ticket);

  void abort() noexcept;
  bool aborted() const;
  /// Sleeps for `time`; false at once when aborted.
  bool sleep(Duration time);

 private:
  std::deque<const StepPlan*> plans_;
  uint64_t submitted_ = 0, taken_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool aborted_ = false;
};

/// What wait() returns once abort() was called.
std::unexpected<Error> step_aborted();

}  // namespace troupe
