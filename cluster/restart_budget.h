// How often an actor that is restarted in place may die: kRestartBudget times in kRestartWindow.
// After that its process ends, because a fresh one may fare better. Pure; owned by the shell that
// restarts the actor.
#pragma once

#include <deque>

#include "config/limits.h"
#include "config/time.h"

namespace troupe {

class RestartBudget {
 public:
  /// It died now; whether it is to be started again.
  bool died(Time now) {
    while (!deaths_.empty() && now - deaths_.front() >= kRestartWindow) deaths_.pop_front();
    if (static_cast<int>(deaths_.size()) == kRestartBudget) return false;
    deaths_.push_back(now);
    return true;
  }

 private:
  std::deque<Time> deaths_;  ///< at most kRestartBudget, those within the window
};

}  // namespace troupe
