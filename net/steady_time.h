// What a thread of net/ that waits takes for now: the steady clock, as a Time. Any thread.
#pragma once

#include <chrono>

#include "config/time.h"

namespace troupe {

inline Time steady_time() {
  return Time(
      std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()));
}

}  // namespace troupe
