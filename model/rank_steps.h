// A rank's way through the steps of its group. Rank 0 takes plans from its queue, gives them to the
// others and has their answers; every other rank takes the next plan, does its work and hands it
// on. While later stages of a pipeline run a plan, rank 0 starts the ones behind it. Owned by one
// Partition, whose thread calls, but for abort().
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "config/result.h"
#include "config/time.h"
#include "model/plan_check.h"
#include "model/plan_relay.h"
#include "model/rank_group.h"
#include "model/step_queue.h"

namespace troupe {

/// What a backend does for an admitted plan.
class RankWork {
 public:
  virtual ~RankWork() = default;
  /// This rank's part, within `time`; the rows stay here. `tokens`: of the plan, references
  /// resolved. The last stage makes the output of the step, which counts on the head rank.
  virtual Result<void> compute(const StepPlan& plan, std::span<const int32_t> tokens,
                               Duration time) = 0;
  /// Gives the rows of the last compute() to the next stage. Never called in the last one.
  virtual Result<void> hand_over() = 0;
};

class RankSteps {
 public:
  RankSteps() = default;
  RankSteps(const RankSteps&) = delete;  // the relay points to the group
  RankSteps& operator=(const RankSteps&) = delete;

  /// Plans may be of as many lanes as there are stages, or of `lanes` if that is more. Errors of
  /// RankGroup::join.
  Result<void> join(const PartitionPlan& plan, int rank, const Budget& budget, int32_t vocab,
                    int32_t lanes = 1);
  RankGroup& group() { return group_; }

  /// Rank 0: `output` becomes the answer of the oldest plan in `queue`; `work` makes it there if
  /// this is the head rank too. Of the plans behind it, starts those whose lane has its answers.
  /// Any error is the group's end.
  Result<void> finish_oldest(const StepQueue& queue, RankWork& work, Duration time,
                             StepOutput& output);
  /// Other ranks: one step. `output` is what `work` makes. Any error is the group's end.
  Result<void> follow(RankWork& work, Duration idle, const StepOutput& output);

  /// From any thread, also before join().
  void abort() noexcept { group_.abort(); }

 private:
  Result<void> begin(const StepPlan& plan, RankWork& work, Duration time);
  Result<void> take_answer(Duration time, StepOutput& output);
  /// Answers to all begun plans but the last fit between the head rank and this one: sending them
  /// waits for nobody.
  bool answers_fit(const StepQueue& queue) const;

  RankGroup group_;
  PlanRelay relay_;
  PlanCheck check_;
  int32_t begun_ = 0;  ///< rank 0: plans that have no answer yet
};

}  // namespace troupe
