#include "model/rank_group.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "config/check.h"

namespace troupe {

namespace {
/// A call must have some time; one that comes too late fails within it.
constexpr Duration kLeastDeadline = 1us;
}  // namespace

Result<void> RankGroup::join(const PartitionPlan& plan, int rank, const Budget& budget) {
  const auto ranks = static_cast<int64_t>(plan.ranks.size());
  if (rank < 0 || rank >= ranks || ranks != int64_t{plan.tensor_parallel} * plan.pipeline_parallel)
    return fail(ErrorCode::invalid_argument, "There is no rank " + std::to_string(rank) +
                                                 " in a plan of " + std::to_string(ranks) +
                                                 " ranks, " + std::to_string(plan.tensor_parallel) +
                                                 " x " + std::to_string(plan.pipeline_parallel) +
                                                 ": make the plan with plan_partitions.");
  const RankPlan& mine = plan.ranks[static_cast<size_t>(rank)];
  rank_ = rank;
  tp_ = mine.tp;
  tensor_parallel_ = plan.tensor_parallel;
  stage_index_ = mine.stage;
  stages_ = plan.pipeline_parallel;
  if (alone()) return {};
  if (budget.host == nullptr || budget.host->size() != ranks || budget.host->rank() != rank)
    return fail(ErrorCode::invalid_argument,
                "Rank " + std::to_string(rank) + " of " + std::to_string(ranks) +
                    " was given no collective of these ranks: connect the group first.");
  generation_ = budget.generation;
  host_ = budget.host;
  if (tensor_parallel_ == 1) return {};
  std::vector<int> stage(static_cast<size_t>(tensor_parallel_));
  std::iota(stage.begin(), stage.end(), rank - tp_);
  stage_ = budget.host->among(stage);
  TROUPE_CHECK(stage_ != nullptr, rank);
  return {};
}

void RankGroup::begin_step(Duration time) {
  ++step_;
  calls_.stage = calls_.in = calls_.out = calls_.answer = 0;
  calls_.within.assign(static_cast<size_t>(tensor_parallel_), 0);
  limit_step(time);
}

void RankGroup::limit_step(Duration time) { end_ = Clock::now() + time; }

CallTag RankGroup::tag(uint64_t step, uint32_t& calls, Clock::time_point end) const {
  const auto left = std::chrono::duration_cast<Duration>(end - Clock::now());
  return {.generation = generation_,
          .step = step,
          .seq = calls++,
          .deadline = std::clamp(left, kLeastDeadline, kCollectiveDeadlineMax)};
}

Result<void> RankGroup::gather(std::span<const std::byte> mine, std::span<std::byte> all,
                               std::span<const size_t> counts) {
  return stage_->all_gather_v(mine, all, counts, tag(calls_.stage));
}

Result<void> RankGroup::share_frame(StepFrame& frame) {
  const auto call = [this](Buffer part) { return stage_->broadcast(part, 0, tag(calls_.stage)); };
  return tp_ == 0 ? frame.send(call) : frame.receive(call);
}

Result<void> RankGroup::send_in_stage(std::span<std::byte> bytes, int32_t tp) {
  return stage_->send({bytes, ElementType::bytes}, tp, tag(calls_.within[static_cast<size_t>(tp)]));
}

Result<void> RankGroup::receive_in_stage(std::span<std::byte> bytes, int32_t tp) {
  // Both ends number the calls of their pair.
  const size_t pair = tp_ == 0 ? static_cast<size_t>(tp) : 0;
  return stage_->recv({bytes, ElementType::bytes}, tp, tag(calls_.within[pair]));
}

Result<void> RankGroup::send_on(std::span<std::byte> bytes) {
  return host_.load()->send({bytes, ElementType::bytes}, peer(1), tag(calls_.out));
}

Result<void> RankGroup::receive_on(std::span<std::byte> bytes) {
  return host_.load()->recv({bytes, ElementType::bytes}, peer(-1), tag(calls_.in));
}

Result<void> RankGroup::send_frame_on(StepFrame& frame) {
  return frame.send([this](Buffer part) { return send_on(part.bytes); });
}

Result<void> RankGroup::receive_frame_on(StepFrame& frame) {
  return frame.receive([this](Buffer part) { return receive_on(part.bytes); });
}

Result<void> RankGroup::send_answer(StepFrame& frame) {
  return frame.send(
      [this](Buffer part) { return host_.load()->send(part, 0, tag(calls_.answer)); });
}

Result<void> RankGroup::receive_answer(StepFrame& frame, Duration time) {
  const int head = (stages_ - 1) * tensor_parallel_;
  const Clock::time_point end = Clock::now() + time;
  uint32_t calls = 0;
  ++answers_;
  return frame.receive(
      [&](Buffer part) { return host_.load()->recv(part, head, tag(answers_, calls, end)); });
}

void RankGroup::abort() noexcept {
  if (Collective* host = host_) host->abort(generation_);
}

}  // namespace troupe
