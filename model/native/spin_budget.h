// How long a thread that waits for another one looks before it sleeps: twice as long after it paid
// off, half as long after it did not, the least after somebody else needed the core. Of one waiting
// thread; never fails.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "model/native/cpu_thread.h"

namespace troupe::native {

class SpinBudget {
 public:
  /// In nanoseconds; begins with the most.
  SpinBudget(int64_t least, int64_t most) : least_(least), most_(most), budget_(most) {}

  int64_t nanoseconds() const { return budget_; }

  /// True as soon as `look` says so; false once the budget is used up.
  template <class Look>
  bool spin(const Look& look) {
    if (look()) return true;
    int64_t last = now();
    const int64_t end = last + budget_;
    bool stolen = false;
    while (last < end) {
      for (int i = 0; i < kPausesPerLook; ++i) {
        spin_pause();
        if (look()) {
          budget_ = std::min(budget_ * 2, most_);
          return true;
        }
      }
      const int64_t at = now();
      stolen = stolen || at - last > kStolen;
      last = at;
    }
    budget_ = stolen ? least_ : std::max(budget_ / 2, least_);
    return false;
  }

 private:
  /// Between two readings of the clock.
  static constexpr int kPausesPerLook = 8;
  /// A spin that stood still for so long was put off its core.
  static constexpr int64_t kStolen = 40'000;

  static int64_t now() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }

  int64_t least_, most_, budget_;
};

}  // namespace troupe::native
