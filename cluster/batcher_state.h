// Inside of the Batcher machine: its state, and what each part of it does. Included by the
// cluster/batcher*.cpp only.
#pragma once

#include <array>
#include <optional>
#include <set>
#include <vector>

#include "cluster/batcher.h"
#include "cluster/bundle_source.h"
#include "cluster/canary.h"
#include "cluster/flights.h"
#include "cluster/schedule.h"
#include "cluster/sequence_table.h"
#include "cluster/speculation.h"
#include "cluster/step_budget.h"
#include "cluster/step_deadline.h"

namespace troupe {

struct Batcher::State {
  /// drained, dead: nothing is run any more.
  enum class Phase : uint8_t { serving, draining, drained, dead };

  explicit State(BatcherConfig c);

  BatcherConfig config;
  Schedule schedule;
  StepDeadline pace;
  StepBudget budget;
  Speculation speculation;
  Canary canary;
  BundleSource bundle;
  SequenceTable sequences;
  Flights flights;
  Phase phase = Phase::serving;
  /// A lane's plan before the next one.
  struct Lane {
    uint64_t step = 0, hash = 0;
  };
  std::vector<Lane> lanes;
  /// Waits for somebody to be preempted; until it has what it needs no other lane plans.
  std::optional<int32_t> starved;
  uint64_t arrivals = 0, steps_started = 0, steps_done = 0;
  std::optional<Time> last_done;  ///< first input's time until a step is done
  std::array<uint64_t, 4> phase_us{};
  std::set<RouterId> routers;  ///< linked; they are told how the group does
  Time status_due{};

  bool over() const { return phase == Phase::dead || phase == Phase::drained; }

  // -- batcher.cpp
  void on(Time, const batcher_in::Drain&, BatcherEffects&);
  void on(Time, const batcher_in::Tick&, BatcherEffects&) {}

  // -- batcher_intake.cpp: what routers ask; who comes and goes
  void on(Time now, const batcher_in::FromRouter& in, BatcherEffects& out);
  void on(Time now, const batcher_in::RouterJoined& in, BatcherEffects& out);
  void on(Time now, const batcher_in::RouterLost& in, BatcherEffects& out);
  void take(Time now, RouterId router, const Enqueue& request, BatcherEffects& out);
  void take(Time now, RouterId router, const Cancel& request, BatcherEffects& out);
  void take(Time now, RouterId router, const BundleRequest& request, BatcherEffects& out);
  void take(Time now, RouterId router, const PrefixRequest& request, BatcherEffects& out);
  void forget(RouterId router);
  std::optional<Error> refusal(const Enqueue& request) const;
  void expire(Time now, BatcherEffects& out);

  // -- batcher_status.cpp: what routers are told unasked
  void link(Time now, RouterId router, BatcherEffects& out);
  GroupStatus status(Time now) const;
  PrefixReport report_of(PrefixChange change) const;
  void tell_routers(Time now, BatcherEffects& out);

  // -- batcher_steps.cpp: plans go out, outputs come in
  void on(Time now, const batcher_in::StepDone& in, BatcherEffects& out);
  void on(Time now, const batcher_in::StepFailed& in, BatcherEffects& out);
  void apply(Time now, const Flight& done, const StepOutput& output, BatcherEffects& out);
  void watch(Time now, BatcherEffects& out);
  void fault(Error error, BatcherEffects& out);
  void run_next(Time now, BatcherEffects& out);
  bool run_any(Time now, BatcherEffects& out);
  bool run_one(Time now, int32_t lane, BatcherEffects& out);
  std::vector<int32_t> lanes_in_turn() const;
  bool may_plan(int32_t lane) const;
  bool canary_due(Time now) const;
  void launch(Time now, StepPlan plan, std::vector<Pick> picks, BatcherEffects& out);
};

}  // namespace troupe
