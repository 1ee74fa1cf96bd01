#include "model/step_queue.h"

#include "config/check.h"

namespace troupe {

Ticket StepQueue::push(const StepPlan& plan) {
  TROUPE_CHECK(plans_.size() < static_cast<size_t>(in_flight_max_), plans_.size());
  plans_.push_back(&plan);
  return Ticket{++submitted_};
}

const StepPlan* StepQueue::pop(Ticket ticket) {
  if (!is_oldest(ticket)) return nullptr;
  const StepPlan* plan = plans_.front();
  plans_.pop_front();
  ++taken_;
  return plan;
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
