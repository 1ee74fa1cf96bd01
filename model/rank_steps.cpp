#include "model/rank_steps.h"

#include <algorithm>
#include <chrono>

#include "config/check.h"
#include "config/limits.h"
#include "model/step_bytes.h"
#include "model/step_frame.h"

namespace troupe {

Result<void> RankSteps::join(const PartitionPlan& plan, int rank, const Budget& budget,
                             int32_t vocab, int32_t lanes) {
  if (auto ok = group_.join(plan, rank, budget); !ok) return ok;
  relay_ = PlanRelay(group_);
  check_ = PlanCheck(budget, vocab, std::max(lanes, group_.stages()));
  return {};
}

Result<void> RankSteps::finish_oldest(const StepQueue& queue, RankWork& work, Duration time,
                                      StepOutput& output) {
  TROUPE_CHECK(group_.leads() && queue.peek(0) != nullptr);
  const auto end = std::chrono::steady_clock::now() + time;
  const auto left = [&] {
    return std::chrono::duration_cast<Duration>(end - std::chrono::steady_clock::now());
  };
  for (;;) {
    const StepPlan* next = queue.peek(static_cast<size_t>(begun_));
    const bool starts =
        next != nullptr && begun_ < group_.stages() && check_.answered(next->key.lane);
    if (!starts) return take_answer(left(), output);
    if (auto ok = begin(*next, work, time); !ok) return ok;
    // With a plan in every stage a large answer must be taken before this plan goes on: else the
    // head rank could wait for that, the next stage for the head rank and this one for the next
    // stage. Otherwise the next stage had better have its work at hand when it ends what it has.
    const bool answer_first = ++begun_ == group_.stages() && !answers_fit(queue);
    if (answer_first)
      if (auto ok = take_answer(left(), output); !ok) return ok;
    if (!group_.last_stage()) {
      if (auto ok = relay_.pass_on(); !ok) return ok;
      if (auto ok = work.hand_over(); !ok) return ok;
    }
    if (answer_first) return {};
  }
}

bool RankSteps::answers_fit(const StepQueue& queue) const {
  size_t bytes = 0;
  for (int32_t ahead = 0; ahead + 1 < begun_; ++ahead)
    bytes += StepFrame::bytes_of(answer_bytes_max(*queue.peek(static_cast<size_t>(ahead))));
  return bytes <= kAnswersAheadBytes;
}

Result<void> RankSteps::begin(const StepPlan& plan, RankWork& work, Duration time) {
  if (auto ok = check_.admit(plan); !ok) return ok;
  if (!group_.alone())
    if (auto ok = relay_.give(plan, time); !ok) return ok;
  return work.compute(plan, check_.resolved_tokens(plan), time);
}

Result<void> RankSteps::take_answer(Duration time, StepOutput& output) {
  if (!group_.draws()) {
    if (auto ok = relay_.await_answer(output, time); !ok) return ok;
    if (auto ok = check_.check_answer(output); !ok) return ok;
  }
  check_.produced(output);
  if (!group_.alone()) relay_.drew(output);
  --begun_;
  return {};
}

Result<void> RankSteps::follow(RankWork& work, Duration idle, const StepOutput& output) {
  TROUPE_CHECK(!group_.leads());
  const auto taken = relay_.take(idle);
  if (!taken) return std::unexpected(taken.error());
  for (const StepOutput& drawn : taken->drawn) {
    if (auto ok = check_.check_answer(drawn); !ok) return ok;
    check_.produced(drawn);
  }
  if (auto ok = check_.admit(*taken->plan); !ok) return ok;
  if (auto ok = work.compute(*taken->plan, check_.resolved_tokens(*taken->plan), taken->time); !ok)
    return ok;
  if (group_.draws()) return relay_.answer(output);
  if (group_.last_stage()) return {};
  if (auto ok = relay_.pass_on(); !ok) return ok;
  return work.hand_over();
}

}  // namespace troupe
