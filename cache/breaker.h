// Stops asking a service that keeps failing: after `errors` failures within `window` it is left
// alone for `rest`, then tried again. Pure; owned by its one caller.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>

#include "config/time.h"

namespace troupe {

class Breaker {
 public:
  Breaker(size_t errors, Duration window, Duration rest)
      : errors_(errors), window_(window), rest_(rest) {}

  /// True: it has just opened.
  bool failed(Time now) {
    while (!recent_.empty() && recent_.front() + window_ <= now) recent_.pop_front();
    recent_.push_back(now);
    if (recent_.size() < errors_) return false;
    recent_.clear();
    rests_until_ = now + rest_;
    return true;
  }
  bool open(Time now) const { return rests_until_ && now < *rests_until_; }
  std::optional<Time> rests_until() const { return rests_until_; }

 private:
  size_t errors_;
  Duration window_, rest_;
  std::deque<Time> recent_;  ///< < errors_ entries
  std::optional<Time> rests_until_;
};

}  // namespace troupe
