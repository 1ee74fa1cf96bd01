// Plans go out to the device, and what it answers becomes tokens for the routers.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

#include "cluster/answer.h"
#include "cluster/batcher_state.h"
#include "config/check.h"

namespace troupe {

namespace {

/// One message per step and router. Few routers: searched.
class BatchesByRouter {
 public:
  BatchesByRouter(Generation generation, const Flight& done)
      : generation_(generation), step_(done.plan->key.step), chunks_max_(done.picks.size()) {}

  std::vector<TokenChunk>& of(RouterId router) {
    const auto at = std::ranges::find(batches_, router, &Batch::first);
    if (at != batches_.end()) return at->second.chunks;
    TokenBatch batch{generation_, step_, {}};
    batch.chunks.reserve(chunks_max_);
    return batches_.emplace_back(router, std::move(batch)).second.chunks;
  }
  void send(BatcherEffects& out) {
    for (auto& [router, batch] : batches_)
      out.push_back(batcher_out::ToRouter{router, std::move(batch)});
  }

 private:
  using Batch = std::pair<RouterId, TokenBatch>;
  Generation generation_;
  StepId step_;
  size_t chunks_max_;
  std::vector<Batch> batches_;
};

/// Each new token says what its drafts would have been worth.
void learn(Speculation& speculation, Sequence& sequence) {
  for (int32_t i = sequence.lookup.size(); i < sequence.size(); ++i) {
    const auto match = sequence.lookup.match();
    if (match.length > 0) {
      const auto foretold = sequence.tokens[static_cast<size_t>(match.next)];
      speculation.saw(match.length, sequence.drawing(),
                      foretold == sequence.tokens[static_cast<size_t>(i)]);
    }
    sequence.lookup.extend(std::span(sequence.tokens).first(static_cast<size_t>(i) + 1));
  }
}

}  // namespace

void Batcher::State::on(Time now, const batcher_in::StepDone& in, BatcherEffects& out) {
  const auto done = flights.land(now, in.output.get());
  if (!done) {
    out.push_back(batcher_out::Drop{"stale_step"});
    return;
  }
  const StepOutput& output = *in.output;
  if (auto sound = check_output(*done->plan, output, config.vocab); !sound)
    return fault(sound.error(), out);
  if (done->picks.empty()) {
    if (auto sound = canary.judge(output); !sound) return fault(sound.error(), out);
  } else {
    // Alone it went through one stage after another; with company, the next would have been done a
    // stage's time later.
    const Duration took = (now - done->started) / (done->alone ? config.lanes : 1);
    budget.finished(done->prompt_rows, done->rows - done->prompt_rows, took);
  }
  pace.finished(done->rows, now - done->started);
  ++steps_done;
  last_done = now;
  for (size_t i = 0; i < phase_us.size(); ++i) phase_us[i] += output.phase_us[i];
  apply(now, *done, output, out);
}

void Batcher::State::on(Time, const batcher_in::StepFailed& in, BatcherEffects& out) {
  if (!flights.has(in.key)) {
    out.push_back(batcher_out::Drop{"stale_step"});
    return;
  }
  fault(in.error, out);
}

void Batcher::State::apply(Time now, const Flight& done, const StepOutput& output,
                           BatcherEffects& out) {
  BatchesByRouter batches(config.generation, done);
  for (size_t i = 0; i < done.picks.size(); ++i) {
    Sequence& sequence = *done.picks[i].sequence;
    const Slice& slice = done.plan->slices[i];
    if (sequence.left) {
      schedule.landed(sequence, slice, output.slices[i]);
      continue;
    }
    TokenChunk chunk = apply_output(sequence, *done.plan, output, i, now);
    if (slice.n_draft > 0) speculation.tested(slice.n_draft, output.slices[i].n_tokens - 1);
    learn(speculation, sequence);
    schedule.landed(sequence, slice, output.slices[i]);
    const bool over = chunk.finish != Finish::none;
    if (over || !chunk.tokens.empty()) batches.of(sequence.router).push_back(std::move(chunk));
    if (over) sequences.leave(sequence.request.key, schedule);
  }
  sequences.sweep(schedule);
  run_next(now, out);  // first: the device is idle
  batches.send(out);
}

void Batcher::State::watch(Time now, BatcherEffects& out) {
  const auto deadline = flights.deadline();
  if (!deadline || now < *deadline) return;
  const Flight& oldest = flights.oldest();
  fault(Error{ErrorCode::deadline_exceeded,
              fmt::format("Step {} of {} rows took longer than {} ms: the group starts anew.",
                          oldest.plan->key.step, oldest.rows, to_ms(oldest.limit))},
        out);
}

void Batcher::State::fault(Error error, BatcherEffects& out) {
  phase = Phase::dead;
  flights.clear();
  out.push_back(batcher_out::Fault{StepFault{config.group, config.generation, std::move(error)}});
  for (const auto& sequence : sequences.clear(schedule)) {
    out.push_back(batcher_out::ToRouter{
        sequence->router,
        Refused{sequence->request.key, sequence->request.attempt,
                Error{ErrorCode::aborted,
                      "The group's generation has failed: place the request on another group."}}});
  }
}

void Batcher::State::run_next(Time now, BatcherEffects& out) {
  while (!over() && run_any(now, out)) continue;
}

bool Batcher::State::run_any(Time now, BatcherEffects& out) {
  if (flights.size() >= config.plans_in_flight + config.lanes - 1) return false;
  for (const int32_t lane : lanes_in_turn()) {
    if (may_plan(lane) && run_one(now, lane, out)) return true;
    if (flights.empty()) return false;  // no lane has anything to run
  }
  return false;
}

/// The one that has been without a new plan for longest goes first.
std::vector<int32_t> Batcher::State::lanes_in_turn() const {
  std::vector<int32_t> turn(lanes.size());
  std::iota(turn.begin(), turn.end(), 0);
  std::ranges::sort(turn, {}, [&](int32_t lane) {
    const uint64_t step = lanes[static_cast<size_t>(lane)].step;
    return std::pair(starved == lane ? 0 : 1 + step, lane);
  });
  return turn;
}

bool Batcher::State::may_plan(int32_t lane) const {
  if (starved && starved != lane) return false;
  const int32_t in_lane = flights.in_lane(lane);
  if (in_lane == 0) return true;
  if (in_lane >= config.plans_in_flight) return false;
  const Flight& newest = flights.newest_of(lane);
  // Where drafts end is known only when they are done, and they need all tokens before them.
  if (newest.drafts > 0 || schedule.wants_drafts(budget, speculation, lane)) return false;
  return budget.expected(newest.prompt_rows, newest.rows - newest.prompt_rows) <
         kPlanAheadBehindMax;
}

bool Batcher::State::run_one(Time now, int32_t lane, BatcherEffects& out) {
  const InFlight in_flight = flights.empty()              ? InFlight::nothing
                             : flights.in_lane(lane) == 0 ? InFlight::other_lanes
                                                          : InFlight::own_lane;
  NextStep next = schedule.pick(now, budget, speculation, lane, in_flight);
  TROUPE_CHECK(!next.picks.empty() || schedule.empty() || in_flight != InFlight::nothing,
               schedule.waiting(), schedule.running());
  if (next.must_preempt)
    starved = lane;
  else if (starved == lane)
    starved.reset();
  const StepKey key{.epoch = config.epoch,
                    .generation = config.generation.value,
                    .lane = static_cast<uint32_t>(lane),
                    .step = steps_started + 1,
                    .prev_hash = lanes[static_cast<size_t>(lane)].hash};
  if (!next.picks.empty()) {
    StepPlan plan = build_plan(key, next.picks, schedule.take_closed());
    launch(now, std::move(plan), std::move(next.picks), out);
    return true;
  }
  if (in_flight != InFlight::nothing) return false;
  if (phase == Phase::draining) {
    phase = Phase::drained;
    out.push_back(batcher_out::Drained{});
    return false;
  }
  if (!canary_due(now)) return false;
  launch(now, canary.plan(key, schedule.take_closed()), {}, out);
  return true;
}

bool Batcher::State::canary_due(Time now) const {
  return steps_started == 0 || (last_done && now >= *last_done + config.canary_interval);
}

void Batcher::State::launch(Time now, StepPlan plan, std::vector<Pick> picks, BatcherEffects& out) {
  lanes[plan.key.lane] = {.step = ++steps_started, .hash = plan.hash};
  const auto rows = static_cast<int32_t>(plan.tokens.size());
  int32_t prompt_rows = 0, drafts = 0;
  for (const Pick& pick : picks) {
    prompt_rows += pick.feeds_prompt ? pick.rows : 0;
    drafts += pick.drafts;
  }
  flights.start(Flight{.plan = std::make_shared<const StepPlan>(std::move(plan)),
                       .picks = std::move(picks),
                       .rows = rows,
                       .prompt_rows = prompt_rows,
                       .drafts = drafts,
                       .started = now,
                       .limit = pace.limit(rows)});
  out.push_back(batcher_out::RunStep{flights.newest().plan, flights.newest().limit});
}

}  // namespace troupe
