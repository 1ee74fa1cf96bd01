// A group's device whose steps take the time that a model of it says: plans run in the order they
// came, through the stages of a pipeline one after another; two plans of one lane never overlap,
// because the later one needs what the earlier one drew. What is drawn is a hash of slot and
// position, so answers neither repeat themselves nor end early.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "config/time.h"
#include "model/step.h"

namespace troupe::scaling {

/// Times of a plan's stages, and of the hops between them.
struct PlanTime {
  std::vector<Duration> stages;
  Duration hop{};
};
using PlanTimer = std::function<PlanTime(const StepPlan&)>;

class ModelledDevice {
 public:
  ModelledDevice(PlanTimer timer, int32_t vocab) : timer_(std::move(timer)), vocab_(vocab) {}

  /// When the plan will be done. Plans come in the order of their steps.
  Time submit(Time now, const StepPlan& plan);
  /// What it answers; once for each plan, in order.
  StepOutput answer(const StepPlan& plan);
  /// Of all stages together, so far.
  Duration busy() const { return busy_; }

 private:
  int32_t draw(int32_t slot, int32_t position) const;

  PlanTimer timer_;
  int32_t vocab_;
  std::vector<Time> stage_free_;
  std::map<uint32_t, Time> lane_done_;
  std::map<int32_t, uint64_t> seeds_;  ///< by open slot
  Duration busy_{};
};

}  // namespace troupe::scaling
