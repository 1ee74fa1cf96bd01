#include "model/step_queue.h"

#include "config/check.h"

namespace troupe {

void StepQueue::serve_stages(int32_t stages) {
  TROUPE_CHECK(stages >= 1 && stages <= kCollectiveRanksMax, stages);
  in_flight_max_ = plans_in_flight_max(stages);
}

Ticket StepQueue::push(const StepPlan& plan) {
  TROUPE_CHECK(size() < static_cast<size_t>(in_flight_max_), size());
  plans_[submitted_ % kPlansMax] = &plan;
  return Ticket{++submitted_};
}

const StepPlan* StepQueue::pop(Ticket ticket) {
  if (!is_oldest(ticket)) return nullptr;
  return place(taken_++);
}

void StepQueue::abort() noexcept {
  const std::lock_guard lock(mutex_);
  aborted_.store(true, std::memory_order_release);
  wake_.notify_all();
}

bool StepQueue::sleep(Duration time) {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, time, [this] { return aborted(); });
}

std::unexpected<Error> step_aborted() {
  return fail(ErrorCode::aborted, "The step was aborted: its generation is over.");
}

}  // namespace troupe
