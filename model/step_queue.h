// The plans submitted to a Partition and not yet waited for, in order, and the abort flag. Shared
// by backends that run steps inside wait() on the device lane's own thread. abort(), aborted() and
// sleep() are thread-safe; aborted() takes no lock, for it is asked before every layer.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>

#include "config/limits.h"
#include "config/result.h"
#include "config/time.h"
#include "model/partition.h"

namespace troupe {

class StepQueue {
 public:
  /// Of a group with so many pipeline stages, at most kCollectiveRanksMax; before any push(). One
  /// until then.
  void serve_stages(int32_t stages);

  /// Allocates nothing.
  Ticket push(const StepPlan& plan);
  /// The plan of `ticket`, which must be the oldest; null when a plan before it was never waited
  /// for.
  const StepPlan* pop(Ticket ticket);
  /// The one that is `index` behind the oldest; null when there are not so many.
  const StepPlan* peek(size_t index) const {
    return index < size() ? place(taken_ + index) : nullptr;
  }
  bool is_oldest(Ticket ticket) const { return size() > 0 && ticket.value == taken_ + 1; }

  void abort() noexcept;
  bool aborted() const { return aborted_.load(std::memory_order_acquire); }
  /// Sleeps for `time`; false at once when aborted.
  bool sleep(Duration time);

 private:
  static constexpr size_t kPlansMax = plans_in_flight_max(kCollectiveRanksMax);

  size_t size() const { return submitted_ - taken_; }
  const StepPlan* place(uint64_t number) const { return plans_[number % kPlansMax]; }

  std::array<const StepPlan*, kPlansMax> plans_{};  ///< a ring; those in flight are set
  int32_t in_flight_max_ = plans_in_flight_max(1);
  uint64_t submitted_ = 0, taken_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<bool> aborted_ = false;  ///< set under the mutex, so that no sleeper misses it
};

/// What wait() returns once abort() was called.
std::unexpected<Error> step_aborted();

}  // namespace troupe
