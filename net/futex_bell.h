// Wakes a rank of another process that sleeps on shared memory. Any number of ringers, one waiter:
//   waiter: ticket = bell.ready(); look again at what it waits for; bell.sleep(ticket, for_at_most)
//   ringer: publish with sequentially consistent order; bell.ring()
// Either the waiter's second look sees what was published, or the ringer sees that it may sleep.
#pragma once

#include <atomic>
#include <cstdint>

#include "config/time.h"

namespace troupe {

/// Lies in shared memory, zeroed at first; a cache line of its own.
class alignas(64) FutexBell {
 public:
  /// The waiter is about to sleep.
  uint32_t ready() {
    waiting_.store(1);
    return rings_.load();
  }
  /// Returns when rung after ready(), at a signal, or after `at_most`; ends what ready() began.
  void sleep(uint32_t ticket, Duration at_most);
  /// Ends what ready() began without sleep.
  void stay() { waiting_.store(0, std::memory_order_relaxed); }

  /// Costs one load when nobody waits, and one of several ringers a system call.
  void ring() {
    if (waiting_.load() != 0 && waiting_.exchange(0) != 0) ring_always();
  }
  void ring_always();

 private:
  std::atomic<uint32_t> rings_ = 0;
  std::atomic<uint32_t> waiting_ = 0;
};
static_assert(std::atomic<uint32_t>::is_always_lock_free);

}  // namespace troupe
