// The one place where shells read the clock.
#pragma once

#include <chrono>

#include "config/time.h"

namespace troupe {

inline Time steady_now() {
  return Time(
      std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()));
}

}  // namespace troupe
