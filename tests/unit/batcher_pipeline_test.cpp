// The batcher with a second plan sent before the first one is done.
#include <doctest/doctest.h>

#include "tests/unit/batcher_rig.h"

using namespace troupe;
using namespace troupe::test;

namespace batcher_pipeline_test {
namespace {

BatcherConfig two_plans() {
  BatcherConfig config = small_config();
  config.plans_in_flight = 2;
  return config;
}

std::vector<TokenId> expected(const Rig& rig, const Enqueue& e) {
  return reference_answer(e.prompt, e.max_new, rig.words, e.stop_ids);
}

}  // namespace

TEST_CASE("batcher: the next plan leaves before the output is read and names the row that draws") {
  Rig rig(two_plans());
  const Enqueue a = rig.request(1, prompt_of(3), 5), b = rig.request(2, prompt_of(4, 80), 5);
  rig.warm().enqueue(a);
  REQUIRE(rig.ahead != nullptr);
  CHECK(rig.ahead->slices[0].pos0 == 3);
  CHECK(rig.ahead->tokens == std::vector<int32_t>{-1});
  CHECK(rig.ahead->key.prev_hash == rig.plan->hash);
  rig.enqueue(b);  // both plans have left
  CHECK(rig.ahead->slices.size() == 1);
  rig.run_step();
  CHECK(rig.answer(a).tokens.size() == 1);
  REQUIRE(rig.ahead->slices.size() == 2);
  CHECK(rig.ahead->tokens[0] == -1);
  rig.settle();
  CHECK(rig.answer(a).tokens == expected(rig, a));
  CHECK(rig.answer(b).tokens == expected(rig, b));
}

TEST_CASE("batcher: what was planned past a stop id is dropped, and its blocks stay until then") {
  Rig rig(two_plans());
  Enqueue e = rig.request(1, prompt_of(14), 50);
  const auto free_run = reference_answer(e.prompt, 50, rig.words);
  e.stop_ids = {free_run[2]};
  rig.warm().enqueue(e);
  rig.run_step();
  rig.run_step();
  CHECK_FALSE(rig.answer(e).over());
  rig.run_step();
  CHECK(rig.answer(e).finish == Finish::stop);
  CHECK(rig.answer(e).tokens == std::vector<TokenId>(free_run.begin(), free_run.begin() + 2));
  REQUIRE(rig.plan != nullptr);  // the surplus row
  CHECK(rig.batcher.status(rig.now).blocks_used > 0);
  CHECK(rig.batcher.status(rig.now).running == 1);
  rig.run_step();
  CHECK(rig.batcher.status(rig.now).blocks_used == 0);
  CHECK(rig.plan == nullptr);
  // The 16 positions before the stop id are known to the index, the one it was fed at is not.
  Enqueue again = rig.request(2, e.prompt, 50);
  again.prompt.insert(again.prompt.end(), free_run.begin(), free_run.begin() + 20);
  again.stop_ids = {};
  rig.enqueue(again);
  CHECK(rig.plan->slices[0].pos0 == 16);
  rig.settle();
  CHECK(rig.answer(again).tokens == expected(rig, again));
}

TEST_CASE("batcher: nothing is planned past the length of an answer") {
  Rig rig(two_plans());
  const Enqueue e = rig.request(1, prompt_of(5), 2);
  rig.warm().enqueue(e);
  REQUIRE(rig.ahead != nullptr);
  rig.run_step();
  CHECK(rig.ahead == nullptr);
  rig.run_step();
  CHECK(rig.plan == nullptr);
  CHECK(rig.answer(e).tokens == expected(rig, e));
}

TEST_CASE("batcher: whoever would have to be preempted is not while a plan is in flight") {
  BatcherConfig config = two_plans();
  config.kv_blocks = 5;
  Rig rig(config);
  const Enqueue a = rig.request(1, prompt_of(15), 45), b = rig.request(2, prompt_of(15, 300), 45);
  rig.warm().enqueue(a);
  rig.enqueue(b);
  bool waited = false;
  while (rig.run_step()) {
    if (rig.plan && rig.batcher.status(rig.now).running == 2 && !rig.ahead) waited = true;
  }
  CHECK(waited);
  CHECK(rig.batcher.status(rig.now).preemptions > 0);
  CHECK(rig.answer(a).tokens == expected(rig, a));
  CHECK(rig.answer(b).tokens == expected(rig, b));
}

TEST_CASE("batcher: a cancelled sequence holds what it has until both plans are done") {
  Rig rig(two_plans());
  const Enqueue e = rig.request(1, prompt_of(5), 30);
  rig.warm().enqueue(e);
  rig.cancel(e);
  rig.run_step();
  CHECK(rig.batcher.status(rig.now).blocks_used > 0);
  rig.run_step();
  CHECK(rig.batcher.status(rig.now).blocks_used == 0);
  CHECK(rig.answer(e).tokens.empty());
}

TEST_CASE("batcher: the deadline of a plan that waits counts from when it may start") {
  Rig rig(two_plans());
  rig.warm().enqueue(rig.request(1, prompt_of(5), 30));
  CHECK(rig.batcher.deadline() == rig.now + kStepDeadlineMax);
  rig.run_step(1500ms);
  CHECK(rig.faults.empty());
  CHECK(rig.batcher.deadline() == rig.now + kStepDeadlineMax);
  rig.now += kStepDeadlineMax;
  rig.tick();
  CHECK(rig.faults.size() == 1);
}

TEST_CASE("batcher: outputs come in the order of their plans, others are dropped") {
  Rig rig(two_plans());
  const Enqueue e = rig.request(1, prompt_of(5), 4);
  rig.warm().enqueue(e);
  const auto first = std::make_shared<StepOutput>(rig.device.run(*rig.plan));
  const auto second = std::make_shared<StepOutput>(rig.device.run(*rig.ahead));
  rig.input(batcher_in::StepDone{second});
  CHECK(rig.drops == std::vector<std::string>{"stale_step"});
  rig.plan = std::exchange(rig.ahead, nullptr);
  rig.input(batcher_in::StepDone{first});
  CHECK(rig.answer(e).tokens.size() == 1);
}

TEST_CASE("batcher: no plan waits behind a step that takes long, so that arrivals join the next") {
  Rig rig(two_plans());
  const Enqueue a = rig.request(1, prompt_of(5), 30), b = rig.request(2, prompt_of(6), 3);
  rig.warm().enqueue(a);
  for (int i = 0; i < 10; ++i) rig.run_step(kPlanAheadBehindMax + 5ms);
  CHECK(rig.ahead == nullptr);
  rig.enqueue(b);
  rig.run_step(kPlanAheadBehindMax + 5ms);
  CHECK(rig.plan->slices.size() == 2);
  rig.settle();
  CHECK(rig.answer(a).tokens == expected(rig, a));
}

TEST_CASE("batcher: after a long prompt's turn those that came later get most of the room") {
  BatcherConfig config = two_plans();
  config.plans_in_flight = 1;
  config.context = 2000;
  config.kv_blocks = 400;
  config.max_rows = 128;
  Rig rig(config);
  const Enqueue endless = rig.request(1, prompt_of(1900), 1),
                late = rig.request(2, prompt_of(192, 5), 1);
  rig.warm().enqueue(endless);
  for (int i = 0; i < 6; ++i) rig.run_step();
  rig.enqueue(late);
  rig.run_step();
  REQUIRE(rig.plan->slices.size() == 2);
  CHECK(rig.plan->slices[0].n_rows == 96);
  CHECK(rig.plan->slices[1].n_rows == 32);
  rig.run_step();
  rig.run_step();
  CHECK(rig.answer(late).over());
  CHECK_FALSE(rig.answer(endless).over());
  rig.settle();
  CHECK(rig.answer(endless).tokens == expected(rig, endless));
  CHECK(rig.answer(late).tokens == expected(rig, late));
}

}  // namespace batcher_pipeline_test
