#include "cluster/batcher.h"

#include <algorithm>
#include <utility>

#include "cluster/batcher_state.h"
#include "config/check.h"

namespace troupe {

namespace {

ScheduleConfig schedule_config(const BatcherConfig& c) {
  // The last block and slot are the canary's. With no more sequences than rows, each that decodes
  // gets its row.
  return ScheduleConfig{.numerics_id = c.numerics_id,
                        .blocks = c.kv_blocks - 1,
                        .slots = std::min(c.max_slots - 1, c.max_rows),
                        .rows = c.max_rows,
                        .lanes = c.lanes};
}

}  // namespace

Batcher::State::State(BatcherConfig c)
    : config(std::move(c)),
      schedule(schedule_config(config)),
      pace(config.timing_scale),
      budget(std::max(config.prefill_chunk / config.lanes, 1), config.lanes),
      canary(config.max_slots - 1, config.kv_blocks - 1),
      bundle(config.group, std::exchange(config.bundle, {})),
      lanes(static_cast<size_t>(config.lanes)) {
  TROUPE_CHECK(config.plans_in_flight >= 1 && config.plans_in_flight <= kPlansInFlightMax);
  TROUPE_CHECK(config.lanes >= 1 && config.lanes <= kCollectiveRanksMax, config.lanes);
  TROUPE_CHECK(config.kv_blocks >= 2 && config.max_slots >= 2 && config.max_rows >= 1);
  TROUPE_CHECK(config.prefill_chunk >= 1 && config.context >= 2 && config.vocab >= 2);
}

void Batcher::State::on(Time, const batcher_in::Drain&, BatcherEffects&) {
  if (phase == Phase::serving) phase = Phase::draining;
}

Batcher::Batcher(BatcherConfig config) : state_(std::make_unique<State>(std::move(config))) {}
Batcher::~Batcher() = default;
Batcher::Batcher(Batcher&&) noexcept = default;
Batcher& Batcher::operator=(Batcher&&) noexcept = default;

void Batcher::step(Time now, const BatcherInput& input, BatcherEffects& out) {
  if (!state_->last_done) state_->last_done = now;
  state_->expire(now, out);
  std::visit([&](const auto& in) { state_->on(now, in, out); }, input);
  state_->watch(now, out);
  state_->run_next(now, out);
  state_->tell_routers(now, out);
}

std::optional<Time> Batcher::deadline() const {
  const State& s = *state_;
  std::optional<Time> next;
  const auto at = [&](std::optional<Time> time) {
    if (time) next = next ? std::min(*next, *time) : time;
  };
  if (!s.routers.empty()) at(s.status_due);
  if (s.over()) return next;
  if (s.steps_started == 0) return Time{};  // the first canary shows that the group works
  at(s.flights.deadline());
  at(s.sequences.deadline());
  if (s.flights.empty() && s.schedule.empty()) at(*s.last_done + s.config.canary_interval);
  return next;
}

GroupStatus Batcher::status(Time now) const { return state_->status(now); }

void Batcher::check() const {
  const State& s = *state_;
  s.schedule.check();
  s.sequences.check(s.schedule, s.flights);
  s.flights.check(s.schedule, s.config.lanes, s.config.plans_in_flight, s.config.max_rows);
  TROUPE_CHECK(s.schedule.waiting() <=
               static_cast<size_t>(s.config.queue_max + s.config.max_slots));
  if (s.over()) {
    TROUPE_CHECK(s.sequences.empty() && s.flights.empty());
    TROUPE_CHECK(s.schedule.books().pool().owned() == 0);
  }
}

}  // namespace troupe
