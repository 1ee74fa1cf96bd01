// A Batcher with its device and its routers: performs effects, keeps what routers were told, checks
// the machine and the order of chunks after every input.
#pragma once

#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "cluster/batcher.h"
#include "tests/unit/paged_device.h"

namespace troupe::test {

struct Answer {
  std::vector<TokenId> tokens;
  std::vector<LogProbs> logprobs, prompt_logprobs;
  Finish finish = Finish::none;
  int32_t cached_tokens = 0;
  std::optional<Error> refused;
  bool taken = false, begun = false;  ///< the two kinds of first chunk
  bool over() const { return finish != Finish::none || refused.has_value(); }
};

inline BatcherConfig small_config() {
  return BatcherConfig{.group = GroupId(3),
                       .generation = Generation(7),
                       .epoch = 99,
                       .kv_blocks = 33,
                       .max_rows = 32,
                       .max_slots = 9,
                       .prefill_chunk = 16,
                       .plans_in_flight = 1,
                       .context = 256,
                       .vocab = 1000,
                       .queue_max = 64,
                       .canary_interval = 2s};
}

inline std::vector<TokenId> prompt_of(int32_t size, int32_t first = 1) {
  std::vector<TokenId> prompt;
  for (int32_t i = 0; i < size; ++i) prompt.emplace_back((first + i * 7) % 997);
  return prompt;
}

class Rig {
 public:
  explicit Rig(BatcherConfig c = small_config(), int32_t loop = 0)
      : config(c),
        words{.vocab = c.vocab, .loop = loop},
        batcher(c),
        device(c.kv_blocks, c.max_slots, c.max_rows, words) {}

  Enqueue request(uint64_t id, std::vector<TokenId> prompt, int32_t max_new) const {
    return Enqueue{.key = {RequestId{0, id}, 0},
                   .attempt = {Incarnation(1), OwnerEpoch(0), Attempt(1)},
                   .generation = config.generation,
                   .weights_id = config.weights_id,
                   .prompt = std::move(prompt),
                   .max_new = max_new,
                   .deadline_left = 600s};
  }

  void input(const BatcherInput& in) {
    BatcherEffects effects;
    batcher.step(now, in, effects);
    batcher.check();
    for (const auto& effect : effects) std::visit([&](const auto& e) { perform(e); }, effect);
  }
  void enqueue(const Enqueue& e, RouterId router = RouterId(1)) {
    input(batcher_in::FromRouter{router, e});
  }
  void cancel(const Enqueue& e, RouterId router = RouterId(1)) {
    input(batcher_in::FromRouter{router, Cancel{e.key, e.attempt}});
  }
  void tick() { input(batcher_in::Tick{}); }
  void join(RouterId router = RouterId(1)) { input(batcher_in::RouterJoined{router}); }
  /// Until the next status is due.
  void next_status() {
    now += kGroupStatusInterval;
    tick();
  }

  /// Ends the oldest step in flight. False when there is none.
  bool run_step(Duration took = 1ms) {
    if (!plan) return false;
    now += took;
    last_plan = std::exchange(plan, std::exchange(ahead, nullptr));
    if (!further.empty()) {
      ahead = further.front();
      further.erase(further.begin());
    }
    auto output = std::make_shared<StepOutput>(device.run(*last_plan));
    input(batcher_in::StepDone{std::move(output)});
    return true;
  }
  /// Until nothing but canaries is left to do.
  void settle() {
    for (int steps = 0;
         plan && !(batcher.status(now).running == 0 && batcher.status(now).queued == 0); ++steps) {
      REQUIRE(steps < 100'000);
      run_step();
    }
    if (plan) run_step();
  }
  /// With the first canary behind.
  Rig& warm() {
    tick();
    run_step();
    return *this;
  }

  Answer& answer(const Enqueue& e) { return answers[{e.key, e.attempt}]; }
  size_t running() const { return static_cast<size_t>(batcher.status(now).running); }

  BatcherConfig config;
  Language words;
  Batcher batcher;
  PagedDevice device;
  Time now{1s};
  std::shared_ptr<const StepPlan> plan, ahead, last_plan;  ///< runs, waits behind it, is done
  std::vector<std::shared_ptr<const StepPlan>> further;    ///< behind `ahead`: only with lanes
  /// Of all in flight, oldest first.
  std::vector<std::shared_ptr<const StepPlan>> in_flight() const {
    std::vector<std::shared_ptr<const StepPlan>> all;
    for (const auto& p : {plan, ahead})
      if (p) all.push_back(p);
    all.insert(all.end(), further.begin(), further.end());
    return all;
  }
  Duration plan_limit{};
  std::map<std::pair<SequenceKey, AttemptId>, Answer> answers;
  std::map<std::pair<SequenceKey, AttemptId>, RouterId> told;
  std::vector<StepFault> faults;
  std::vector<std::string> drops;
  std::map<std::pair<StepId, RouterId>, int> batches_of_step;
  int drained = 0;
  std::vector<std::pair<RouterId, GroupStatus>> statuses;
  std::vector<std::pair<RouterId, PrefixReport>> reports;

  static uint32_t lane_of(const std::shared_ptr<const StepPlan>& p) { return p->key.lane; }

 private:
  void perform(const batcher_out::RunStep& e) {
    REQUIRE(faults.empty());
    const auto before = in_flight();
    REQUIRE(static_cast<int32_t>(before.size()) < config.plans_in_flight + config.lanes - 1);
    REQUIRE(std::ranges::count(before, e.plan->key.lane, lane_of) < config.plans_in_flight);
    if (plan == nullptr)
      plan = e.plan;
    else if (ahead == nullptr)
      ahead = e.plan;
    else
      further.push_back(e.plan);
    plan_limit = e.deadline;
  }
  void perform(const batcher_out::ToRouter& e) {
    if (const auto* batch = std::get_if<TokenBatch>(&e.message)) {
      CHECK(batch->generation == config.generation);
      // Step 0: before any step.
      if (batch->step.value > 0) CHECK(++batches_of_step[{batch->step, e.router}] == 1);
      for (const TokenChunk& chunk : batch->chunks) {
        told[{chunk.key, chunk.attempt}] = e.router;
        Answer& a = answers[{chunk.key, chunk.attempt}];
        CHECK_FALSE(a.over());
        if (!a.taken) {
          a.taken = true;
          CHECK(chunk.tokens.empty());
          CHECK(batch->step.value == 0);
          a.finish = chunk.finish;
          first_seq[{chunk.key, chunk.attempt}] = chunk.seq;
          continue;
        }
        CHECK((!chunk.tokens.empty() || chunk.finish != Finish::none));
        if (!a.begun) {
          a.begun = true;
          a.cached_tokens = chunk.cached_tokens;
          a.prompt_logprobs = chunk.prompt_logprobs;
        }
        CHECK(chunk.seq == first_seq[{chunk.key, chunk.attempt}] + a.tokens.size());
        a.tokens.insert(a.tokens.end(), chunk.tokens.begin(), chunk.tokens.end());
        a.logprobs.insert(a.logprobs.end(), chunk.logprobs.begin(), chunk.logprobs.end());
        a.finish = chunk.finish;
      }
    } else if (const auto* status = std::get_if<GroupStatus>(&e.message)) {
      statuses.emplace_back(e.router, *status);
    } else if (const auto* report = std::get_if<PrefixReport>(&e.message)) {
      reports.emplace_back(e.router, *report);
    } else {
      const auto& refused = std::get<Refused>(e.message);
      Answer& a = answers[{refused.key, refused.attempt}];
      CHECK_FALSE(a.over());
      a.refused = refused.error;
    }
  }
  void perform(const batcher_out::Fault& e) {
    faults.push_back(e.fault);
    plan.reset();
    ahead.reset();
    further.clear();
  }
  void perform(const batcher_out::Drained&) { ++drained; }
  void perform(const batcher_out::Drop& e) { drops.emplace_back(e.why); }

  std::map<std::pair<SequenceKey, AttemptId>, uint64_t> first_seq;
};

}  // namespace troupe::test
