#include "cluster/batcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <span>
#include <utility>

#include "cluster/answer.h"
#include "cluster/intake.h"
#include "cluster/plan_builder.h"
#include "cluster/schedule.h"
#include "cluster/speculation.h"
#include "cluster/step_budget.h"
#include "cluster/step_deadline.h"
#include "config/check.h"

namespace troupe {

namespace {

ScheduleConfig schedule_config(const BatcherConfig& c) {
  // The last block and slot are the canary's. With no more sequences than rows, each that decodes
  // gets its row.
  return ScheduleConfig{.numerics_id = c.numerics_id,
                        .blocks = c.kv_blocks - 1,
                        .slots = std::min(c.max_slots - 1, c.max_rows),
                        .rows = c.max_rows};
}

}  // namespace

struct Batcher::State {
  struct Flight {
    std::shared_ptr<const StepPlan> plan;
    std::vector<Pick> picks;  ///< empty: a canary
    int32_t rows = 0, prompt_rows = 0, drafts = 0;
    Time started{};  ///< of the oldest in flight; others wait for it
    Duration limit{};
  };
  /// done: after Drained or Fault, nothing is run any more.
  enum class Phase : uint8_t { serving, draining, drained, dead };

  explicit State(BatcherConfig c)
      : config(std::move(c)),
        schedule(schedule_config(config)),
        pace(config.timing_scale),
        budget(config.prefill_chunk) {
    TROUPE_CHECK(config.plans_in_flight >= 1 && config.plans_in_flight <= kPlansInFlightMax);
    TROUPE_CHECK(config.kv_blocks >= 2 && config.max_slots >= 2 && config.max_rows >= 1);
    TROUPE_CHECK(config.prefill_chunk >= 1 && config.context >= 2 && config.vocab >= 2);
  }

  void on(Time now, const batcher_in::FromRouter& in, BatcherEffects& out);
  void on(Time now, const batcher_in::RouterLost& in, BatcherEffects& out);
  void on(Time now, const batcher_in::StepDone& in, BatcherEffects& out);
  void on(Time now, const batcher_in::StepFailed& in, BatcherEffects& out);
  void on(Time, const batcher_in::Drain&, BatcherEffects&) {
    if (phase == Phase::serving) phase = Phase::draining;
  }
  void on(Time, const batcher_in::Tick&, BatcherEffects&) {}

  void enqueue(Time now, RouterId router, const Enqueue& request, BatcherEffects& out);
  void cancel(const Cancel& request, BatcherEffects& out);
  std::optional<Error> refusal(const Enqueue& request) const;
  void leave(const SequenceKey& key);
  void expire(Time now, BatcherEffects& out);
  void watch(Time now, BatcherEffects& out);
  void apply(Time now, const Flight& done, const StepOutput& output, BatcherEffects& out);
  void learn(Sequence& sequence);
  std::optional<Error> judge_canary(const StepOutput& output);
  void run_next(Time now, BatcherEffects& out);
  bool run_one(Time now, BatcherEffects& out);
  bool may_plan_ahead() const;
  void launch(Time now, StepPlan plan, std::vector<Pick> picks, BatcherEffects& out);
  void fault(Error error, BatcherEffects& out);
  bool canary_due(Time now) const;

  BatcherConfig config;
  Schedule schedule;
  StepDeadline pace;
  StepBudget budget;
  Speculation speculation;
  Phase phase = Phase::serving;
  std::map<SequenceKey, std::unique_ptr<Sequence>> sequences;
  /// Finished or cancelled, but named by a plan in flight: they hold blocks and slot until it is
  /// done.
  std::vector<std::unique_ptr<Sequence>> leaving;
  std::set<std::pair<Time, SequenceKey>> deadlines;
  std::vector<Flight> flights;  ///< oldest first
  uint64_t arrivals = 0, steps_started = 0, steps_done = 0, prev_hash = 0;
  std::optional<Time> last_done;  ///< first input's time until a step is done
  std::optional<int32_t> canary_token;
  std::array<uint64_t, 4> phase_us{};
};

// -- routers
// -----------------------------------------------------------------------------------------------------

void Batcher::State::on(Time now, const batcher_in::FromRouter& in, BatcherEffects& out) {
  if (const auto* request = std::get_if<Enqueue>(&in.message)) {
    enqueue(now, in.router, *request, out);
  } else {
    cancel(std::get<Cancel>(in.message), out);
  }
}

void Batcher::State::on(Time, const batcher_in::RouterLost& in, BatcherEffects&) {
  std::vector<SequenceKey> lost;
  for (const auto& [key, sequence] : sequences) {
    if (sequence->router == in.router) lost.push_back(key);
  }
  for (const SequenceKey& key : lost) leave(key);
}

std::optional<Error> Batcher::State::refusal(const Enqueue& request) const {
  if (phase == Phase::dead) {
    return Error{ErrorCode::aborted,
                 "The group's generation has failed: place the request on another group."};
  }
  if (request.generation != config.generation || request.weights_id != config.weights_id) {
    return Error{ErrorCode::aborted,
                 "The request was meant for another generation or other weights of this group: "
                 "look up the routing "
                 "table and place it again."};
  }
  if (phase != Phase::serving) {
    return Error{ErrorCode::unavailable,
                 "The group is draining: place the request on another group."};
  }
  if (request.deadline_left <= Duration{}) {
    return Error{ErrorCode::deadline_exceeded,
                 "The request's deadline passed before it reached the group."};
  }
  if (schedule.waiting() >= static_cast<size_t>(config.queue_max)) {
    return Error{ErrorCode::rate_limited,
                 fmt::format("{} sequences wait in this group already: try again later.",
                             schedule.waiting())};
  }
  return std::nullopt;
}

void Batcher::State::enqueue(Time now, RouterId router, const Enqueue& request,
                             BatcherEffects& out) {
  const auto refuse = [&](Error error) {
    out.push_back(
        batcher_out::ToRouter{router, Refused{request.key, request.attempt, std::move(error)}});
  };
  if (auto known = sequences.find(request.key); known != sequences.end()) {
    if (!is_newer(request.attempt, known->second->request.attempt)) {
      out.push_back(batcher_out::Drop{"stale_attempt"});
      return;
    }
    leave(request.key);
  }
  if (auto error = refusal(request)) return refuse(std::move(*error));
  const IntakeLimits limits{.context = config.context,
                            .vocab = config.vocab,
                            .positions_max = (config.kv_blocks - 1) * kBlockPositions};
  auto sequence = take_in(request, router, arrivals, now, limits);
  if (!sequence) return refuse(std::move(sequence.error()));
  // The first chunk says that the request was taken; it is not part of a step.
  TokenChunk taken{.key = request.key,
                   .attempt = request.attempt,
                   .seq = request.accepted.size(),
                   .finish = finish_of(*sequence)};
  const bool over = taken.finish != Finish::none;
  out.push_back(
      batcher_out::ToRouter{router, TokenBatch{config.generation, StepId{}, {std::move(taken)}}});
  if (over) return;
  ++arrivals;
  auto owned = std::make_unique<Sequence>(std::move(*sequence));
  owned->lookup.extend(owned->tokens);
  deadlines.emplace(owned->deadline, request.key);
  schedule.add(*owned);
  sequences.emplace(request.key, std::move(owned));
}

void Batcher::State::cancel(const Cancel& request, BatcherEffects& out) {
  auto known = sequences.find(request.key);
  if (known == sequences.end() || known->second->request.attempt != request.attempt) {
    out.push_back(batcher_out::Drop{"stale_cancel"});
    return;
  }
  leave(request.key);
}

void Batcher::State::leave(const SequenceKey& key) {
  auto at = sequences.find(key);
  deadlines.erase({at->second->deadline, key});
  if (at->second->flights > 0) {
    at->second->left = true;
    leaving.push_back(std::move(at->second));
  } else {
    schedule.remove(*at->second);
  }
  sequences.erase(at);
}

void Batcher::State::expire(Time now, BatcherEffects& out) {
  while (!deadlines.empty() && deadlines.begin()->first <= now) {
    const SequenceKey key = deadlines.begin()->second;
    const Sequence& sequence = *sequences.at(key);
    out.push_back(batcher_out::ToRouter{
        sequence.router,
        Refused{key, sequence.request.attempt,
                Error{ErrorCode::deadline_exceeded,
                      "The request's deadline passed before its answer was complete."}}});
    leave(key);
  }
}

// -- steps
// -------------------------------------------------------------------------------------------------------

void Batcher::State::on(Time now, const batcher_in::StepDone& in, BatcherEffects& out) {
  if (flights.empty() || !in.output || in.output->key != flights.front().plan->key ||
      in.output->plan_hash != flights.front().plan->hash) {
    out.push_back(batcher_out::Drop{"stale_step"});
    return;
  }
  const Flight done = std::move(flights.front());
  flights.erase(flights.begin());
  if (auto sound = check_output(*done.plan, *in.output, config.vocab); !sound)
    return fault(sound.error(), out);
  if (done.picks.empty()) {
    if (auto error = judge_canary(*in.output)) return fault(std::move(*error), out);
  }
  ++steps_done;
  last_done = now;
  for (size_t i = 0; i < phase_us.size(); ++i) phase_us[i] += in.output->phase_us[i];
  pace.finished(done.rows, now - done.started);
  if (!done.picks.empty())
    budget.finished(done.prompt_rows, done.rows - done.prompt_rows, now - done.started);
  if (!flights.empty()) flights.front().started = now;
  apply(now, done, *in.output, out);
}

void Batcher::State::apply(Time now, const Flight& done, const StepOutput& output,
                           BatcherEffects& out) {
  std::vector<std::pair<RouterId, TokenBatch>> batches;  // few routers: searched
  const auto batch_for = [&](RouterId router) -> TokenBatch& {
    const auto at = std::ranges::find(batches, router, &std::pair<RouterId, TokenBatch>::first);
    if (at != batches.end()) return at->second;
    return batches
        .emplace_back(router, TokenBatch{config.generation, StepId(done.plan->key.step), {}})
        .second;
  };
  for (size_t i = 0; i < done.picks.size(); ++i) {
    Sequence& sequence = *done.picks[i].sequence;
    const Slice& slice = done.plan->slices[i];
    if (sequence.left) {
      schedule.landed(sequence, slice, output.slices[i]);
      continue;
    }
    TokenChunk chunk = apply_output(sequence, *done.plan, output, i, now);
    if (slice.n_draft > 0) speculation.tested(slice.n_draft, output.slices[i].n_tokens - 1);
    learn(sequence);
    schedule.landed(sequence, slice, output.slices[i]);
    const bool over = chunk.finish != Finish::none;
    if (over || !chunk.tokens.empty())
      batch_for(sequence.router).chunks.push_back(std::move(chunk));
    if (over) leave(sequence.request.key);
  }
  std::erase_if(leaving, [&](const auto& sequence) {
    if (sequence->flights > 0) return false;
    schedule.remove(*sequence);
    return true;
  });
  run_next(now, out);  // first: the device is idle
  for (auto& [router, batch] : batches)
    out.push_back(batcher_out::ToRouter{router, std::move(batch)});
}

void Batcher::State::learn(Sequence& sequence) {
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

std::optional<Error> Batcher::State::judge_canary(const StepOutput& output) {
  const int32_t token = output.tokens[static_cast<size_t>(output.slices[0].tok_off)];
  if (!canary_token) canary_token = token;
  if (token == *canary_token) return std::nullopt;
  return Error{ErrorCode::internal,
               "The canary step drew another token than before: the group's memory is damaged and "
               "it starts anew."};
}

void Batcher::State::on(Time, const batcher_in::StepFailed& in, BatcherEffects& out) {
  if (std::ranges::none_of(flights, [&](const Flight& f) { return f.plan->key == in.key; })) {
    out.push_back(batcher_out::Drop{"stale_step"});
    return;
  }
  fault(in.error, out);
}

void Batcher::State::watch(Time now, BatcherEffects& out) {
  if (flights.empty()) return;
  const Flight& oldest = flights.front();
  if (now < oldest.started + oldest.limit) return;
  fault(Error{ErrorCode::deadline_exceeded,
              fmt::format("Step {} of {} rows took longer than {} ms: the group starts anew.",
                          oldest.plan->key.step, oldest.rows, to_ms(oldest.limit))},
        out);
}

void Batcher::State::fault(Error error, BatcherEffects& out) {
  phase = Phase::dead;
  flights.clear();
  out.push_back(batcher_out::Fault{StepFault{config.group, config.generation, error}});
  const auto forget = [&](Sequence& sequence) {
    sequence.flights = 0;
    schedule.remove(sequence);
  };
  for (auto& sequence : leaving) forget(*sequence);
  leaving.clear();
  deadlines.clear();
  for (auto& [key, sequence] : sequences) {
    forget(*sequence);
    out.push_back(batcher_out::ToRouter{
        sequence->router,
        Refused{key, sequence->request.attempt,
                Error{ErrorCode::aborted,
                      "The group's generation has failed: place the request on another group."}}});
  }
  sequences.clear();
}

bool Batcher::State::canary_due(Time now) const {
  return steps_started == 0 || (last_done && now >= *last_done + config.canary_interval);
}

void Batcher::State::run_next(Time now, BatcherEffects& out) {
  if (phase == Phase::dead || phase == Phase::drained) return;
  if (flights.empty() && !run_one(now, out)) return;
  while (may_plan_ahead() && run_one(now, out)) continue;
}

bool Batcher::State::may_plan_ahead() const {
  if (static_cast<int32_t>(flights.size()) >= config.plans_in_flight) return false;
  const Flight& newest = flights.back();
  // Where drafts end is known only when they are done, and they need all tokens before them.
  if (newest.drafts > 0 || schedule.wants_drafts(budget, speculation)) return false;
  return budget.expected(newest.prompt_rows, newest.rows - newest.prompt_rows) <
         kPlanAheadBehindMax;
}

bool Batcher::State::run_one(Time now, BatcherEffects& out) {
  const Ahead ahead = flights.empty() ? Ahead::no : Ahead::yes;
  std::vector<Pick> picks = schedule.pick(now, budget, speculation, ahead);
  TROUPE_CHECK(!picks.empty() || schedule.empty() || ahead == Ahead::yes, schedule.waiting(),
               schedule.running());
  const StepKey key{.epoch = config.epoch,
                    .generation = config.generation.value,
                    .lane = 0,
                    .step = steps_started + 1,
                    .prev_hash = prev_hash};
  if (!picks.empty()) {
    StepPlan plan = build_plan(key, picks, schedule.take_closed());
    launch(now, std::move(plan), std::move(picks), out);
    return true;
  }
  if (ahead == Ahead::yes) return false;
  if (phase == Phase::draining) {
    phase = Phase::drained;
    out.push_back(batcher_out::Drained{});
    return false;
  }
  if (!canary_due(now)) return false;
  std::vector<int32_t> close = schedule.take_closed();
  if (canary_token) close.push_back(config.max_slots - 1);
  launch(now, build_canary(key, config.max_slots - 1, config.kv_blocks - 1, std::move(close)), {},
         out);
  return true;
}

void Batcher::State::launch(Time now, StepPlan plan, std::vector<Pick> picks, BatcherEffects& out) {
  ++steps_started;
  prev_hash = plan.hash;
  const auto rows = static_cast<int32_t>(plan.tokens.size());
  int32_t prompt_rows = 0, drafts = 0;
  for (const Pick& pick : picks) {
    prompt_rows += pick.feeds_prompt ? pick.rows : 0;
    drafts += pick.drafts;
  }
  flights.push_back(Flight{std::make_shared<const StepPlan>(std::move(plan)), std::move(picks),
                           rows, prompt_rows, drafts, now, pace.limit(rows)});
  out.push_back(batcher_out::RunStep{flights.back().plan, flights.back().limit});
}

// -- the machine
// -------------------------------------------------------------------------------------------------

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
}

std::optional<Time> Batcher::deadline() const {
  const State& s = *state_;
  if (s.phase == State::Phase::dead || s.phase == State::Phase::drained) return std::nullopt;
  if (s.steps_started == 0) return Time{};  // the first canary shows that the group works
  std::optional<Time> next;
  const auto at = [&](Time time) { next = next ? std::min(*next, time) : time; };
  if (!s.flights.empty()) at(s.flights.front().started + s.flights.front().limit);
  if (!s.deadlines.empty()) at(s.deadlines.begin()->first);
  if (s.flights.empty() && s.schedule.empty()) at(*s.last_done + s.config.canary_interval);
  return next;
}

GroupStatus Batcher::status(Time now) const {
  const State& s = *state_;
  const BlockPool& pool = s.schedule.books().pool();
  return GroupStatus{
      .group = s.config.group,
      .generation = s.config.generation,
      .steps_done = s.steps_done,
      .last_step_age = s.last_done ? now - *s.last_done : Duration{},
      .step_running = s.flights.empty() ? Duration{} : now - s.flights.front().started,
      .step_p99 = s.pace.p99(),
      .queued = static_cast<int32_t>(s.schedule.waiting()),
      .running = static_cast<int32_t>(s.schedule.running()),
      .queued_tokens = s.schedule.rows_queued(),
      .blocks_used = pool.owned(),
      .blocks_total = pool.total(),
      .blocks_cached = pool.cached(),
      .preemptions = s.schedule.preemptions(),
      .prefix_queries = s.schedule.books().queries(),
      .prefix_hits = s.schedule.books().hits(),
      .drafted = s.speculation.drafted(),
      .drafts_right = s.speculation.right(),
      .phase_us = s.phase_us,
      .prompt_rows = std::min(s.budget.prompt_rows(static_cast<int32_t>(s.schedule.running())),
                              s.config.max_rows),
      .draining = s.phase == State::Phase::draining || s.phase == State::Phase::drained};
}

void Batcher::check() const {
  const State& s = *state_;
  s.schedule.check();
  TROUPE_CHECK(s.sequences.size() == s.deadlines.size(), s.sequences.size(), s.deadlines.size());
  TROUPE_CHECK(s.sequences.size() + s.leaving.size() ==
               s.schedule.waiting() + s.schedule.running());
  TROUPE_CHECK(s.schedule.waiting() <=
               static_cast<size_t>(s.config.queue_max + s.config.max_slots));
  const auto named = [&](const Sequence* sequence) {
    int32_t count = 0;
    for (const State::Flight& flight : s.flights)
      count += std::ranges::count(flight.picks, sequence, &Pick::sequence);
    return count;
  };
  for (const auto& sequence : s.leaving) {
    TROUPE_CHECK(sequence->left && sequence->flights > 0);
    TROUPE_CHECK(sequence->flights == named(sequence.get()), sequence->flights);
  }
  for (const auto& [key, sequence] : s.sequences) {
    TROUPE_CHECK(key == sequence->request.key && s.deadlines.contains({sequence->deadline, key}),
                 key.id);
    TROUPE_CHECK(!sequence->left && sequence->flights == named(sequence.get()), sequence->flights);
  }
  if (s.phase == State::Phase::dead || s.phase == State::Phase::drained) {
    TROUPE_CHECK(s.sequences.empty() && s.leaving.empty() && s.flights.empty());
    TROUPE_CHECK(s.schedule.books().pool().owned() == 0);
  }
  TROUPE_CHECK(static_cast<int32_t>(s.flights.size()) <= s.config.plans_in_flight);
  for (const State::Flight& flight : s.flights) {
    TROUPE_CHECK(flight.rows <= s.config.max_rows, flight.rows, s.config.max_rows);
    if (!flight.picks.empty()) s.schedule.check_pinned(*flight.plan);
  }
}

}  // namespace troupe
