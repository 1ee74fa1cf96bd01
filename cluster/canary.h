// The step with which an idle group proves that it works: one position on a block and slot of its
// own, which must draw the same token each time. Pure; owned by one Batcher.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "config/result.h"
#include "model/step.h"

namespace troupe {

class Canary {
 public:
  Canary(int32_t slot, int32_t block) : slot_(slot), block_(block) {}

  /// `close`: what else the device shall close.
  StepPlan plan(const StepKey& key, std::vector<int32_t> close) const;
  /// Of a sound output. An error: the group's memory is damaged.
  Result<void> judge(const StepOutput& output);

 private:
  int32_t slot_, block_;
  std::optional<int32_t> token_;  ///< that the first one drew
};

}  // namespace troupe
