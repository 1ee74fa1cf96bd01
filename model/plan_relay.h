// Carries a group's plans from rank 0 to every rank, and answers from the head rank to rank 0. With
// each plan goes what was drawn since the one before it left, which later plans refer to, and how
// long the step may take. Rank 0 shares a plan with its stage; rank 0 of a stage takes it from the
// stage before, once that has computed its part, and shares it. Owned by one Partition; its thread.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "config/result.h"
#include "config/time.h"
#include "model/rank_group.h"
#include "model/step.h"
#include "model/step_frame.h"

namespace troupe {

class PlanRelay {
 public:
  PlanRelay() = default;
  explicit PlanRelay(RankGroup& group) : group_(&group) {}

  /// A plan as it came from rank 0; valid until the next take().
  struct Taken {
    const StepPlan* plan = nullptr;
    std::span<const StepOutput> drawn;  ///< since the plan before left rank 0, oldest first
    Duration time{};                    ///< of the step
  };

  /// Rank 0: begins a step with this plan.
  Result<void> give(const StepPlan& plan, Duration time);
  /// Other ranks: the next plan, waiting up to `idle` for it. data_loss when it is damaged.
  Result<Taken> take(Duration idle);
  /// Every rank but those of the last stage, once the rows are computed: the plan goes on.
  Result<void> pass_on();

  /// Head rank, when it is not rank 0. At most answer_bytes_max() of the plan that it answers.
  Result<void> answer(const StepOutput& output);
  /// Rank 0, when it is not the head rank. data_loss when the answer is damaged; whether it fits
  /// the plan is PlanCheck's to say.
  Result<void> await_answer(StepOutput& output, Duration time);
  /// Rank 0, after each step: what it drew goes along with the next plan that is given.
  void drew(const StepOutput& output);

 private:
  RankGroup* group_ = nullptr;
  StepFrame frame_;  ///< of the plan
  StepFrame answer_frame_;
  std::vector<std::byte> plan_bytes_, output_bytes_;
  std::vector<std::byte> news_;  ///< rank 0: what was drawn since give(), each behind its length
  StepOutput kept_;              ///< rank 0
  StepPlan plan_;                ///< other ranks
  std::vector<StepOutput> drawn_;
};

}  // namespace troupe
