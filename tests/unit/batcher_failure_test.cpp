// The batcher when something is refused, cancelled, late, broken, idle or draining.
#include "cluster/batcher.h"

#include <doctest/doctest.h>

#include "tests/unit/batcher_rig.h"

using namespace troupe;
using namespace troupe::test;

namespace batcher_failure_test {
namespace {

std::vector<TokenId> expected(const Rig& rig, const Enqueue& e) {
  return reference_answer(e.prompt, e.max_new, rig.words, e.stop_ids);
}

}  // namespace

// -- refusals
// ----------------------------------------------------------------------------------------------------

TEST_CASE("batcher: what can never run is refused with the field at fault") {
  Rig rig;
  rig.warm();
  const auto refuse = [&](const Enqueue& e) -> Error {
    rig.enqueue(e);
    REQUIRE(rig.answer(e).refused.has_value());
    CHECK(rig.plan == nullptr);
    return *rig.answer(e).refused;
  };
  Error error = refuse(rig.request(1, {}, 5));
  CHECK(error.code == ErrorCode::invalid_argument);
  CHECK(error.param == "prompt");
  error = refuse(rig.request(2, prompt_of(256), 5));
  CHECK(error.code == ErrorCode::invalid_argument);
  CHECK(error.message.find("256") != std::string::npos);
  error = refuse(rig.request(3, {TokenId(1000)}, 5));
  CHECK(error.code == ErrorCode::invalid_argument);
  CHECK(error.message.find("vocabulary") != std::string::npos);
  error = refuse(rig.request(4, {TokenId(-1)}, 5));
  CHECK(error.param == "prompt");
  Enqueue scored = rig.request(5, prompt_of(4), 5);
  scored.score_prompt = true;
  scored.accepted = {TokenId(1)};
  CHECK(refuse(scored).param == "echo");
  CHECK(refuse(rig.request(6, prompt_of(4), -1)).param == "max_tokens");
}

TEST_CASE("batcher: more positions than the whole pool holds is too large") {
  BatcherConfig config = small_config();
  config.kv_blocks = 5;
  Rig rig(config);
  rig.warm();
  const Enqueue over = rig.request(1, prompt_of(10), 56), fits = rig.request(2, prompt_of(10), 55);
  rig.enqueue(over);
  CHECK(rig.answer(over).refused->code == ErrorCode::too_large);
  rig.enqueue(fits);
  rig.settle();
  CHECK(rig.answer(fits).tokens == expected(rig, fits));
}

TEST_CASE("batcher: a full queue refuses with rate_limited and nobody else notices") {
  BatcherConfig config = small_config();
  config.queue_max = 2;
  Rig rig(config);
  rig.tick();  // the canary keeps the device busy, so all wait
  std::vector<Enqueue> all;
  for (uint64_t i = 1; i <= 3; ++i) {
    all.push_back(rig.request(i, prompt_of(4), 2));
    rig.enqueue(all.back());
  }
  REQUIRE(rig.answer(all[2]).refused.has_value());
  CHECK(rig.answer(all[2]).refused->code == ErrorCode::rate_limited);
  rig.settle();
  CHECK(rig.answer(all[1]).tokens == expected(rig, all[1]));
}

TEST_CASE("batcher: another generation or other weights are refused as aborted") {
  Rig rig;
  rig.warm();
  Enqueue old = rig.request(1, prompt_of(4), 2), other = rig.request(2, prompt_of(4), 2);
  old.generation = Generation(6);
  other.weights_id[0] = 1;
  rig.enqueue(old);
  rig.enqueue(other);
  CHECK(rig.answer(old).refused->code == ErrorCode::aborted);
  CHECK(rig.answer(other).refused->code == ErrorCode::aborted);
  CHECK(rig.plan == nullptr);
}

// -- cancel, attempts, deadlines
// -----------------------------------------------------------------------------------

TEST_CASE("batcher: a cancel frees blocks and slot within one step") {
  Rig rig;
  const Enqueue e = rig.request(1, prompt_of(40), 50);
  rig.warm().enqueue(e);
  rig.run_step();
  rig.cancel(e);
  CHECK(rig.batcher.status(rig.now).blocks_used > 0);  // named by the plan in flight
  rig.run_step();
  CHECK(rig.batcher.status(rig.now).blocks_used == 0);
  CHECK(rig.running() == 0);
  CHECK(rig.plan == nullptr);
  CHECK_FALSE(rig.answer(e).over());
}

TEST_CASE("batcher: a cancel of another attempt changes nothing and is counted") {
  Rig rig;
  Enqueue e = rig.request(1, prompt_of(5), 5);
  e.attempt.counter = Attempt(2);
  rig.warm().enqueue(e);
  Enqueue old = e;
  old.attempt.counter = Attempt(1);
  rig.cancel(old);
  CHECK(rig.drops == std::vector<std::string>{"stale_cancel"});
  rig.settle();
  CHECK(rig.answer(e).tokens == expected(rig, e));
}

TEST_CASE("batcher: a newer attempt replaces the old one, an older or equal one is dropped") {
  Rig rig;
  Enqueue first = rig.request(1, prompt_of(20), 10);
  rig.warm().enqueue(first);
  for (int i = 0; i < 4; ++i) rig.run_step();
  const auto shown = rig.answer(first).tokens.size();
  Enqueue second = first;
  second.attempt.counter = Attempt(2);
  const auto whole = expected(rig, first);
  second.accepted.assign(whole.begin(), whole.begin() + static_cast<long>(shown));
  rig.enqueue(second);
  rig.enqueue(first);
  rig.enqueue(second);
  CHECK(rig.drops == std::vector<std::string>{"stale_attempt", "stale_attempt"});
  rig.settle();
  CHECK(rig.answer(first).tokens.size() == shown);
  CHECK(rig.answer(second).tokens ==
        std::vector<TokenId>(whole.begin() + static_cast<long>(shown), whole.end()));
}

TEST_CASE("batcher: a router's next life replaces only with a higher owner epoch") {
  Rig rig;
  Enqueue first = rig.request(1, prompt_of(5), 5);
  first.attempt.counter = Attempt(9);
  rig.warm().enqueue(first);
  Enqueue same_owner = first, next_owner = first;
  same_owner.attempt.boot = next_owner.attempt.boot = Incarnation(2);
  same_owner.attempt.counter = Attempt(10);
  next_owner.attempt.owner = OwnerEpoch(1);
  next_owner.attempt.counter = Attempt(1);
  rig.enqueue(same_owner, RouterId(2));
  CHECK(rig.drops == std::vector<std::string>{"stale_attempt"});
  rig.enqueue(next_owner, RouterId(2));
  rig.settle();
  CHECK(rig.answer(next_owner).tokens == expected(rig, first));
  CHECK(rig.answer(first).tokens.empty());
}

TEST_CASE("batcher: a lost router's sequences are cancelled, others go on") {
  Rig rig;
  const Enqueue mine = rig.request(1, prompt_of(5), 30),
                other = rig.request(2, prompt_of(5, 70), 6);
  rig.warm().enqueue(mine, RouterId(1));
  rig.enqueue(other, RouterId(2));
  rig.run_step();
  rig.run_step();
  rig.input(batcher_in::RouterLost{RouterId(1)});
  rig.run_step();
  CHECK(rig.running() == 1);
  rig.settle();
  CHECK(rig.answer(other).tokens == expected(rig, other));
  CHECK(rig.answer(mine).tokens.size() < 5);
}

TEST_CASE("batcher: a deadline ends those that run and those that wait") {
  BatcherConfig config = small_config();
  config.max_slots = 2;
  Rig rig(config);
  Enqueue runs = rig.request(1, prompt_of(5), 100), waits = rig.request(2, prompt_of(5, 60), 3),
          late = rig.request(3, prompt_of(5), 3);
  runs.deadline_left = 300ms;
  waits.deadline_left = 100ms;
  late.deadline_left = 0ms;
  rig.warm().enqueue(runs);
  rig.enqueue(waits);
  rig.enqueue(late);
  CHECK(rig.answer(late).refused->code == ErrorCode::deadline_exceeded);
  CHECK(rig.batcher.deadline() == rig.now + 100ms);
  rig.now += 100ms;
  rig.tick();
  CHECK(rig.answer(waits).refused->code == ErrorCode::deadline_exceeded);
  CHECK_FALSE(rig.answer(runs).over());
  rig.now += 200ms;
  rig.tick();
  CHECK(rig.answer(runs).refused->code == ErrorCode::deadline_exceeded);
  rig.run_step();
  CHECK(rig.batcher.status(rig.now).blocks_used == 0);
}

// -- failure
// -----------------------------------------------------------------------------------------------------

TEST_CASE(
    "batcher: a step that misses its deadline is a fault, told once, and all are refused as "
    "aborted") {
  Rig rig;
  const Enqueue e = rig.request(1, prompt_of(5), 5);
  rig.warm().enqueue(e);
  CHECK(rig.plan_limit == kStepDeadlineMax);
  CHECK(rig.batcher.deadline() == rig.now + kStepDeadlineMax);
  const auto stuck = rig.plan;
  rig.now += kStepDeadlineMax - 1ns;
  rig.tick();
  CHECK(rig.faults.empty());
  rig.now += 1ns;
  rig.tick();
  REQUIRE(rig.faults.size() == 1);
  CHECK(rig.faults[0].generation == rig.config.generation);
  CHECK(rig.faults[0].error.code == ErrorCode::deadline_exceeded);
  CHECK(rig.answer(e).refused->code == ErrorCode::aborted);
  CHECK_FALSE(rig.batcher.deadline().has_value());
  rig.input(batcher_in::StepDone{std::make_shared<StepOutput>(rig.device.run(*stuck))});
  CHECK(rig.drops == std::vector<std::string>{"stale_step"});
  const Enqueue later = rig.request(2, prompt_of(5), 5);
  rig.enqueue(later);
  CHECK(rig.answer(later).refused->code == ErrorCode::aborted);
  rig.now += 10s;
  rig.tick();
  CHECK(rig.faults.size() == 1);
  CHECK(rig.plan == nullptr);
}

TEST_CASE(
    "batcher: after steps of known length the deadline is eight times their p99, within bounds") {
  BatcherConfig config = small_config();
  config.timing_scale = 2;
  config.context = 2000;
  config.kv_blocks = 200;
  Rig rig(config);
  rig.warm().enqueue(rig.request(1, prompt_of(1), 200));
  CHECK(rig.plan_limit == 4s);
  for (int i = 0; i < 20; ++i) rig.run_step(10ms);
  CHECK(rig.plan_limit == 2s);
  for (int i = 0; i < 20; ++i) rig.run_step(400ms);
  CHECK(rig.plan_limit == 3200ms);
  for (int i = 0; i < 20; ++i) rig.run_step(1s);
  CHECK(rig.plan_limit == 4s);
}

TEST_CASE(
    "batcher: a failed step is a fault with the device's words, one of another plan is dropped") {
  Rig rig;
  rig.warm().enqueue(rig.request(1, prompt_of(5), 5));
  StepKey other = rig.plan->key;
  --other.step;
  rig.input(batcher_in::StepFailed{other, Error{ErrorCode::internal, "old"}});
  CHECK(rig.faults.empty());
  CHECK(rig.drops == std::vector<std::string>{"stale_step"});
  rig.input(batcher_in::StepFailed{rig.plan->key, Error{ErrorCode::internal, "lane broke"}});
  REQUIRE(rig.faults.size() == 1);
  CHECK(rig.faults[0].error.message == "lane broke");
}

TEST_CASE("batcher: non-finite logits are a fault and never a token") {
  Rig rig;
  const Enqueue good = rig.request(1, prompt_of(5), 5), bad = rig.request(2, prompt_of(5, 80), 5);
  rig.warm().enqueue(good);
  rig.run_step();
  rig.enqueue(bad);
  rig.run_step();
  const auto shown = rig.answer(good).tokens.size();
  auto output = std::make_shared<StepOutput>(rig.device.run(*rig.plan));
  output->slices[1].flags = kNonfinite;
  rig.plan.reset();
  rig.input(batcher_in::StepDone{output});
  REQUIRE(rig.faults.size() == 1);
  CHECK(rig.answer(good).tokens.size() == shown);
  CHECK(rig.answer(good).refused->code == ErrorCode::aborted);
}

TEST_CASE("batcher: an output that does not answer its plan is a fault") {
  const auto breaks = [](auto&& damage) {
    Rig rig;
    Enqueue e = rig.request(1, prompt_of(5), 5);
    e.sampling.n_logprobs = 2;
    rig.warm().enqueue(e);
    auto output = std::make_shared<StepOutput>(rig.device.run(*rig.plan));
    damage(*output);
    rig.plan.reset();
    rig.input(batcher_in::StepDone{output});
    return rig.faults.size() == 1 && rig.answer(e).tokens.empty() &&
           rig.faults[0].error.code == ErrorCode::internal;
  };
  CHECK(breaks([](StepOutput& o) { o.slices.clear(); }));
  CHECK(breaks([](StepOutput& o) { o.slices[0].slot += 1; }));
  CHECK(breaks([](StepOutput& o) { o.slices[0].n_tokens = 0; }));
  CHECK(breaks([](StepOutput& o) { o.slices[0].tok_off = 7; }));
  CHECK(breaks([](StepOutput& o) { o.slices[0].top_off = -1; }));
  CHECK(breaks([](StepOutput& o) { o.logprob.clear(); }));
  CHECK(breaks([](StepOutput& o) { o.top.pop_back(); }));
  CHECK(breaks([](StepOutput& o) { o.tokens[0] = 1000; }));
  CHECK(breaks([](StepOutput& o) { o.tokens[0] = -1; }));
  CHECK_FALSE(breaks([](StepOutput&) {}));
}

// -- canary
// ------------------------------------------------------------------------------------------------------

TEST_CASE("batcher: an idle group proves itself with one row at start and every interval") {
  Rig rig;
  CHECK(rig.batcher.deadline() == Time{});
  rig.tick();
  REQUIRE(rig.plan != nullptr);
  CHECK(rig.plan->tokens.size() == 1);
  CHECK(rig.plan->slices[0].slot == rig.config.max_slots - 1);
  CHECK(rig.plan->blocks == std::vector<int32_t>{rig.config.kv_blocks - 1});
  rig.run_step();
  CHECK(rig.batcher.status(rig.now).steps_done == 1);
  CHECK(rig.plan == nullptr);
  CHECK(rig.batcher.deadline() == rig.now + 2s);
  rig.now += 2s;
  rig.tick();
  REQUIRE(rig.plan != nullptr);
  rig.run_step();
  CHECK(rig.batcher.status(rig.now).steps_done == 2);
  CHECK(rig.batcher.status(rig.now).last_step_age == 0s);
}

TEST_CASE("batcher: a busy group needs no canary, and a canary delays a request by one step") {
  Rig rig;
  rig.tick();
  const Enqueue e = rig.request(1, prompt_of(5), 3);
  rig.enqueue(e);
  rig.run_step();
  for (int i = 0; i < 3; ++i) {
    REQUIRE(rig.plan != nullptr);
    CHECK(rig.plan->slices[0].slot != rig.config.max_slots - 1);
    rig.run_step(1900ms);
  }
  CHECK(rig.answer(e).tokens == expected(rig, e));
  CHECK(rig.plan == nullptr);
}

TEST_CASE("batcher: a canary that draws another token than before is a fault") {
  Rig rig;
  rig.warm();
  rig.now += 2s;
  rig.tick();
  auto output = std::make_shared<StepOutput>(rig.device.run(*rig.plan));
  output->tokens[0] = (output->tokens[0] + 1) % 1000;
  rig.plan.reset();
  rig.input(batcher_in::StepDone{output});
  REQUIRE(rig.faults.size() == 1);
  CHECK(rig.faults[0].error.message.find("canary") != std::string::npos);
}

// -- drain, status
// -----------------------------------------------------------------------------------------------

TEST_CASE(
    "batcher: a draining group finishes what it has, takes nothing new and says once that it is "
    "empty") {
  Rig rig;
  const Enqueue e = rig.request(1, prompt_of(5), 4), late = rig.request(2, prompt_of(5), 4);
  rig.warm().enqueue(e);
  rig.input(batcher_in::Drain{});
  rig.enqueue(late);
  CHECK(rig.answer(late).refused->code == ErrorCode::unavailable);
  CHECK(rig.drained == 0);
  rig.settle();
  CHECK(rig.answer(e).tokens == expected(rig, e));
  CHECK(rig.drained == 1);
  rig.now += 10s;
  rig.tick();
  rig.input(batcher_in::Drain{});
  CHECK(rig.drained == 1);
  CHECK(rig.plan == nullptr);
}

TEST_CASE("batcher: an idle group is drained at once, but not under a canary in flight") {
  Rig rig;
  rig.tick();
  rig.input(batcher_in::Drain{});
  CHECK(rig.drained == 0);
  rig.run_step();
  CHECK(rig.drained == 1);
}

TEST_CASE("batcher: the status counts what waits, runs and is held") {
  BatcherConfig config = small_config();
  config.max_slots = 2;
  Rig rig(config);
  rig.warm().enqueue(rig.request(1, prompt_of(40), 5));
  rig.enqueue(rig.request(2, prompt_of(10), 5));
  rig.now += 5ms;
  const GroupStatus status = rig.batcher.status(rig.now);
  CHECK(status.group == GroupId(3));
  CHECK(status.generation == Generation(7));
  CHECK(status.running == 1);
  CHECK(status.queued == 1);
  CHECK(status.queued_tokens == 50);
  CHECK(status.step_running == 5ms);
  CHECK(status.last_step_age == 5ms);
  CHECK(status.blocks_used == 3);
  CHECK(status.blocks_total == 32);
  CHECK_FALSE(status.draining);
}

}  // namespace batcher_failure_test
