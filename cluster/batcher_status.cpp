// What all routers are told unasked: how the group does, and which prefixes its KV holds.
#include <algorithm>
#include <utility>

#include "cluster/batcher_state.h"
#include "config/limits.h"

namespace troupe {

GroupStatus Batcher::State::status(Time now) const {
  const BlockPool& pool = schedule.books().pool();
  return GroupStatus{
      .group = config.group,
      .generation = config.generation,
      .steps_done = steps_done,
      .last_step_age = last_done ? now - *last_done : Duration{},
      .step_running = flights.empty() ? Duration{} : now - flights.oldest().started,
      .step_p99 = pace.p99(),
      .queued = static_cast<int32_t>(schedule.waiting()),
      .running = static_cast<int32_t>(schedule.running()),
      .queued_tokens = schedule.rows_queued(),
      .blocks_used = pool.owned(),
      .blocks_total = pool.total(),
      .blocks_cached = pool.cached(),
      .preemptions = schedule.preemptions(),
      .prefix_queries = schedule.books().queries(),
      .prefix_hits = schedule.books().hits(),
      .drafted = speculation.drafted(),
      .drafts_right = speculation.right(),
      .phase_us = phase_us,
      .prompt_rows =
          std::min(budget.prompt_rows(static_cast<int32_t>(schedule.running())), config.max_rows),
      .draining = phase == Phase::draining || phase == Phase::drained,
      .prefix_version = schedule.books().prefix_log().version()};
}

PrefixReport Batcher::State::report_of(PrefixChange change) const {
  return PrefixReport{config.group, change.version, change.whole, std::move(change.added),
                      std::move(change.evicted)};
}

void Batcher::State::link(Time now, RouterId router, BatcherEffects& out) {
  if (routers.empty()) status_due = now + kGroupStatusInterval;
  routers.insert(router);
  out.push_back(batcher_out::ToRouter{router, status(now)});
}

void Batcher::State::tell_routers(Time now, BatcherEffects& out) {
  if (routers.empty() || now < status_due) return;
  status_due = now + kGroupStatusInterval;
  // In this order: a status with a newer version than they have makes routers ask for the whole.
  if (auto change = schedule.prefix_log().take()) {
    const PrefixReport report = report_of(std::move(*change));
    for (const RouterId router : routers) out.push_back(batcher_out::ToRouter{router, report});
  }
  const GroupStatus now_so = status(now);
  for (const RouterId router : routers) out.push_back(batcher_out::ToRouter{router, now_so});
}

}  // namespace troupe
