#include "cluster/batcher.h"

#include <doctest/doctest.h>

#include "tests/unit/batcher_rig.h"

using namespace troupe;
using namespace troupe::test;

namespace batcher_test {
namespace {

std::vector<TokenId> expected(const Rig& rig, const Enqueue& e) {
  return reference_answer(e.prompt, e.max_new, rig.words, e.stop_ids);
}

}  // namespace

// -- the life of a sequence
// --------------------------------------------------------------------------------------

TEST_CASE("batcher: a request that is taken is answered at once, before its first step") {
  Rig rig;
  rig.tick();  // the device is busy
  Enqueue e = rig.request(1, prompt_of(5), 5);
  e.accepted = {TokenId(4)};
  rig.enqueue(e);
  CHECK(rig.answer(e).taken);
  CHECK_FALSE(rig.answer(e).begun);
}

TEST_CASE("batcher: an answer is what the model gives token by token, and ends for its length") {
  Rig rig;
  const Enqueue e = rig.request(1, prompt_of(40), 30);
  rig.warm().enqueue(e);
  rig.settle();
  CHECK(rig.answer(e).tokens == expected(rig, e));
  CHECK(rig.answer(e).finish == Finish::length);
  CHECK(rig.batcher.status(rig.now).blocks_used == 0);
}

TEST_CASE("batcher: requests join and leave between steps") {
  Rig rig;
  const Enqueue first = rig.request(1, prompt_of(5), 20),
                second = rig.request(2, prompt_of(6, 50), 3);
  rig.warm().enqueue(first);
  for (int i = 0; i < 5; ++i) rig.run_step();
  CHECK(rig.answer(first).tokens.size() == 5);
  rig.enqueue(second);
  rig.run_step();  // was planned before `second` came
  CHECK(rig.plan->slices.size() == 2);
  for (int i = 0; i < 3; ++i) rig.run_step();
  CHECK(rig.answer(second).finish == Finish::length);
  CHECK(rig.plan->slices.size() == 1);
  rig.settle();
  CHECK(rig.answer(first).tokens == expected(rig, first));
  CHECK(rig.answer(second).tokens == expected(rig, second));
}

TEST_CASE("batcher: a stop id ends the answer and is not part of it") {
  Rig rig;
  Enqueue e = rig.request(1, prompt_of(9), 50);
  const auto free_run = reference_answer(e.prompt, 50, rig.words);
  e.stop_ids = {free_run[6]};
  rig.warm().enqueue(e);
  rig.settle();
  CHECK(rig.answer(e).finish == Finish::stop);
  CHECK(rig.answer(e).tokens == std::vector<TokenId>(free_run.begin(), free_run.begin() + 6));
}

TEST_CASE("batcher: before min_new tokens and with ignore_eos a stop id is a token like others") {
  Rig rig;
  rig.warm();
  Enqueue e = rig.request(1, prompt_of(9), 10);
  const auto free_run = reference_answer(e.prompt, 10, rig.words);
  e.stop_ids = {free_run[2]};
  e.sampling.min_new = 3;
  rig.enqueue(e);
  rig.settle();
  CHECK(rig.answer(e).tokens == free_run);
  Enqueue at_bound = e;
  at_bound.key.id.low = 2;
  at_bound.sampling.min_new = 2;
  rig.enqueue(at_bound);
  rig.settle();
  CHECK(rig.answer(at_bound).tokens.size() == 2);
  Enqueue ignoring = e;
  ignoring.key.id.low = 3;
  ignoring.sampling.min_new = 0;
  ignoring.sampling.ignore_eos = true;
  rig.enqueue(ignoring);
  rig.settle();
  CHECK(rig.answer(ignoring).tokens == free_run);
}

TEST_CASE("batcher: the end of the context ends the answer for its length") {
  BatcherConfig config = small_config();
  config.context = 20;
  Rig rig(config);
  const Enqueue e = rig.request(1, prompt_of(15), 100);
  rig.warm().enqueue(e);
  rig.settle();
  CHECK(rig.answer(e).tokens.size() == 5);
  CHECK(rig.answer(e).finish == Finish::length);
}

TEST_CASE("batcher: accepted tokens go on after a failover at the same positions") {
  Rig rig;
  Enqueue e = rig.request(1, prompt_of(21), 12);
  e.sampling.frequency = 0.5f;
  const auto whole = expected(rig, e);
  e.accepted.assign(whole.begin(), whole.begin() + 5);
  rig.warm().enqueue(e);
  REQUIRE(rig.plan->open.size() == 1);
  CHECK(rig.plan->open[0].n_prompt == 21);
  CHECK(rig.plan->open[0].history.size() == 26);
  CHECK(rig.plan->open[0].history.back() == whole[4].value);
  rig.settle();
  CHECK(rig.answer(e).tokens == std::vector<TokenId>(whole.begin() + 5, whole.end()));
}

TEST_CASE("batcher: an answer that is already complete needs no step") {
  Rig rig;
  Enqueue e = rig.request(1, prompt_of(4), 2);
  e.accepted = expected(rig, e);
  rig.warm().enqueue(e);
  CHECK(rig.plan == nullptr);
  CHECK(rig.answer(e).finish == Finish::length);
  CHECK(rig.answer(e).tokens.empty());
}

TEST_CASE("batcher: a slot carries the sampling of its sequence, and history only with a penalty") {
  Rig rig;
  Enqueue e = rig.request(1, prompt_of(4), 2);
  e.key.choice = 3;
  e.sampling = Sampling{
      .temperature = 0.5f, .top_p = 0.9f, .min_p = 0.1f, .top_k = 40, .seed = 77, .n_logprobs = 2};
  e.sampling.bias = {{5, 1.5f}};
  rig.warm().enqueue(e);
  REQUIRE(rig.plan->open.size() == 1);
  const SlotOpen& open = rig.plan->open[0];
  CHECK(open == SlotOpen{.slot = open.slot,
                         .seed = 77,
                         .choice = 3,
                         .n_prompt = 4,
                         .temperature = 0.5f,
                         .top_p = 0.9f,
                         .min_p = 0.1f,
                         .top_k = 40,
                         .n_logprobs = 2,
                         .bias = {{5, 1.5f}}});
  rig.settle();
  REQUIRE(rig.answer(e).logprobs.size() == 2);
  CHECK(rig.answer(e).logprobs[1].top.size() == 2);
}

// -- steps
// -------------------------------------------------------------------------------------------------------

TEST_CASE("batcher: a long prompt is prefilled in chunks while others go on decoding") {
  Rig rig;
  const Enqueue short_one = rig.request(1, prompt_of(3), 40),
                long_one = rig.request(2, prompt_of(100, 9), 2);
  rig.warm().enqueue(short_one);
  rig.run_step();
  rig.enqueue(long_one);
  rig.run_step();
  for (int chunk = 0; chunk < 6; ++chunk) {
    REQUIRE(rig.plan->slices.size() == 2);
    CHECK(rig.plan->slices[0].n_rows == 1);
    CHECK(rig.plan->slices[1].n_rows == (chunk < 5 ? 16 : 20));
    CHECK((rig.plan->slices[1].out == Out::sample) == (chunk == 5));
    rig.run_step();
  }
  rig.settle();
  CHECK(rig.answer(long_one).tokens == expected(rig, long_one));
  CHECK(rig.answer(short_one).tokens == expected(rig, short_one));
}

TEST_CASE(
    "batcher: rows go to those that decode first, then to the oldest prompt, in whole units or to "
    "its end") {
  BatcherConfig config = small_config();
  config.max_rows = 36;
  Rig rig(config);
  const Enqueue a = rig.request(1, prompt_of(3), 40), b = rig.request(2, prompt_of(60, 9), 2),
                c = rig.request(3, prompt_of(60, 500), 2);
  rig.warm().enqueue(a);
  rig.run_step();
  rig.enqueue(b);
  rig.enqueue(c);
  rig.run_step();
  REQUIRE(rig.plan->slices.size() == 2);
  CHECK(rig.plan->slices[0].n_rows == 1);
  CHECK(rig.plan->slices[1].n_rows == 32);
  rig.run_step();
  REQUIRE(rig.plan->slices.size() == 2);
  CHECK(rig.plan->slices[1].n_rows == 28);
  rig.run_step();
  REQUIRE(rig.plan->slices.size() == 3);
  CHECK(rig.plan->slices[2].n_rows == 32);
  rig.settle();
  CHECK(rig.answer(c).tokens == expected(rig, c));
}

TEST_CASE("batcher: tokens of one step go out as one message a router") {
  Rig rig;
  rig.warm();
  std::vector<Enqueue> all;
  for (uint64_t i = 1; i <= 6; ++i) {
    all.push_back(rig.request(i, prompt_of(3, static_cast<int32_t>(i)), 4));
    rig.enqueue(all.back(), RouterId(1 + i % 2));
  }
  rig.settle();  // the rig checks the count of messages
  for (uint64_t i = 1; i <= 6; ++i) {
    CHECK(rig.answer(all[i - 1]).tokens == expected(rig, all[i - 1]));
    CHECK(rig.told[{all[i - 1].key, all[i - 1].attempt}] == RouterId(1 + i % 2));
  }
}

TEST_CASE(
    "batcher: scoring a prompt gives the log-probability of each next token, also over chunks") {
  Rig rig;
  Enqueue e = rig.request(1, prompt_of(40), 3);
  e.score_prompt = true;
  e.sampling.n_logprobs = 1;
  const Enqueue same_prompt_before = rig.request(2, e.prompt, 1);
  rig.warm().enqueue(same_prompt_before);
  rig.settle();
  rig.enqueue(e);
  rig.settle();
  const Answer& answer = rig.answer(e);
  REQUIRE(answer.prompt_logprobs.size() == 39);
  uint64_t kv = 0;
  for (size_t i = 0; i + 1 < e.prompt.size(); ++i) {
    kv = kv_after(kv, e.prompt[i].value);
    CHECK(answer.prompt_logprobs[i].logprob == score(kv, e.prompt[i + 1].value));
    REQUIRE(answer.prompt_logprobs[i].top.size() == 1);
    CHECK(answer.prompt_logprobs[i].top[0] == TokenLogprob{0, score(kv, 0)});
  }
  CHECK(answer.tokens == expected(rig, e));
  CHECK(answer.cached_tokens == 0);
}

TEST_CASE("batcher: scoring without an answer draws nothing") {
  Rig rig;
  Enqueue e = rig.request(1, prompt_of(5), 0);
  e.score_prompt = true;
  rig.warm().enqueue(e);
  rig.settle();
  CHECK(rig.answer(e).prompt_logprobs.size() == 4);
  CHECK(rig.answer(e).tokens.empty());
  CHECK(rig.answer(e).finish == Finish::length);
}

// -- sharing
// -----------------------------------------------------------------------------------------------------

TEST_CASE("batcher: a second request with the same beginning computes only the rest") {
  Rig rig;
  const Enqueue first = rig.request(1, prompt_of(40), 2);
  Enqueue second = rig.request(2, prompt_of(40), 2);
  second.prompt.resize(36);
  rig.warm().enqueue(first);
  rig.settle();
  rig.enqueue(second);
  CHECK(rig.plan->slices[0].pos0 == 32);
  rig.settle();
  CHECK(rig.answer(second).cached_tokens == 32);
  CHECK(rig.answer(second).tokens == expected(rig, second));
  CHECK(rig.batcher.status(rig.now).prefix_hits == 32);
}

TEST_CASE(
    "batcher: the row that draws the next token is computed even if the whole prompt is known") {
  Rig rig;
  const Enqueue first = rig.request(1, prompt_of(32), 1), second = rig.request(2, prompt_of(32), 1);
  rig.warm().enqueue(first);
  rig.settle();
  rig.enqueue(second);
  CHECK(rig.plan->slices[0].pos0 == 31);  // the last block is copied, all but its last position
  REQUIRE(rig.plan->copy.size() == 1);
  CHECK(rig.plan->copy[0].dst == rig.plan->blocks[1]);
  rig.settle();
  CHECK(rig.answer(second).tokens == expected(rig, second));
}

TEST_CASE("batcher: choices of one prompt wait for the first one's blocks and share them") {
  Rig rig;
  rig.warm();
  std::vector<Enqueue> choices;
  for (int32_t choice = 0; choice < 4; ++choice) {
    choices.push_back(rig.request(1, prompt_of(70), 5));
    choices.back().key.choice = choice;
    rig.enqueue(choices.back());
  }
  rig.settle();
  for (int32_t choice = 0; choice < 4; ++choice) {
    CHECK(rig.answer(choices[static_cast<size_t>(choice)]).tokens == expected(rig, choices[0]));
    CHECK(rig.answer(choices[static_cast<size_t>(choice)]).cached_tokens == (choice == 0 ? 0 : 69));
  }
}

TEST_CASE("batcher: choices that part ways inside a block each have their own copy of it") {
  BatcherConfig config = small_config();
  config.plans_in_flight = 2;
  Rig rig(config);
  rig.warm();
  std::vector<Enqueue> choices;
  for (int32_t choice = 0; choice < 3; ++choice) {
    // Other accepted tokens stand for other draws: the device draws alike for all choices.
    choices.push_back(rig.request(1, prompt_of(25), 30));
    choices.back().key.choice = choice;
    if (choice > 0) choices.back().accepted = {TokenId(choice), TokenId(7)};
    rig.enqueue(choices.back());
  }
  rig.settle();
  CHECK(rig.answer(choices[0]).tokens == expected(rig, choices[0]));
  for (size_t i : {1u, 2u}) {
    std::vector<TokenId> whole = choices[i].prompt;
    whole.insert(whole.end(), choices[i].accepted.begin(), choices[i].accepted.end());
    CHECK(rig.answer(choices[i]).tokens == reference_answer(whole, 28, rig.words));
    CHECK(rig.answer(choices[i]).cached_tokens == 25);
  }
}

TEST_CASE("batcher: a copy's source stays until it is copied, even if its owner leaves") {
  Rig rig;
  const Enqueue first = rig.request(1, prompt_of(30), 9);
  Enqueue second = rig.request(2, prompt_of(30), 2);
  rig.warm().enqueue(first);
  rig.run_step();
  rig.enqueue(second);
  rig.run_step();
  REQUIRE(rig.plan->copy.size() == 1);
  rig.cancel(first);  // in the same plan, which is in flight
  rig.settle();
  CHECK(rig.answer(second).cached_tokens == 29);
  CHECK(rig.answer(second).tokens == expected(rig, second));
  CHECK(rig.batcher.status(rig.now).blocks_used == 0);
}

TEST_CASE("batcher: tenants and adapters do not share blocks") {
  Rig rig;
  Enqueue first = rig.request(1, prompt_of(40), 1), tenant = rig.request(2, prompt_of(40), 1),
          adapter = rig.request(3, prompt_of(40), 1);
  tenant.tenant[3] = 1;
  adapter.adapter = 1;
  rig.warm();
  for (const Enqueue* e : {&first, &tenant, &adapter}) {
    rig.enqueue(*e);
    rig.settle();
    CHECK(rig.answer(*e).cached_tokens == 0);
  }
}

TEST_CASE("batcher: cached blocks make room for new ones, the ones used longest ago first") {
  BatcherConfig config = small_config();
  config.kv_blocks = 9;
  Rig rig(config);
  const Enqueue old = rig.request(1, prompt_of(48, 1), 1),
                newer = rig.request(2, prompt_of(48, 300), 1),
                big = rig.request(3, prompt_of(70, 600), 1);
  rig.warm();
  for (const Enqueue* e : {&old, &newer, &big}) {
    rig.enqueue(*e);
    rig.settle();
    CHECK(rig.answer(*e).tokens == expected(rig, *e));
  }
  Enqueue newer_again = newer, old_again = old;
  newer_again.key.id.low = 12;
  old_again.key.id.low = 11;
  rig.enqueue(newer_again);
  rig.settle();
  CHECK(rig.answer(newer_again).cached_tokens == 47);
  rig.enqueue(old_again);
  rig.settle();
  CHECK(rig.answer(old_again).cached_tokens < 32);
  CHECK(rig.answer(old_again).tokens == expected(rig, old_again));
}

// -- a full pool
// -------------------------------------------------------------------------------------------------

TEST_CASE("batcher: a full pool preempts the youngest, and every answer is still right") {
  BatcherConfig config = small_config();
  config.kv_blocks = 8;
  Rig rig(config);
  rig.warm();
  std::vector<Enqueue> all;
  for (uint64_t i = 1; i <= 3; ++i) {
    all.push_back(rig.request(i, prompt_of(16, static_cast<int32_t>(i * 100)), 60));
    rig.enqueue(all.back());
  }
  std::vector<size_t> finished;
  while (finished.size() < 3) {
    REQUIRE(rig.run_step());
    for (size_t i = 0; i < 3; ++i) {
      if (rig.answer(all[i]).over() && std::ranges::find(finished, i) == finished.end())
        finished.push_back(i);
    }
  }
  CHECK(finished == std::vector<size_t>{0, 1, 2});
  CHECK(rig.batcher.status(rig.now).preemptions > 0);
  for (const Enqueue& e : all) {
    CHECK(rig.answer(e).tokens == expected(rig, e));
    CHECK_FALSE(rig.answer(e).refused.has_value());
  }
}

TEST_CASE("batcher: higher priority is older, whoever came first") {
  BatcherConfig config = small_config();
  config.kv_blocks = 6;
  Rig rig(config);
  Enqueue low = rig.request(1, prompt_of(16), 40), high = rig.request(2, prompt_of(16, 300), 40);
  high.priority = 1;
  rig.warm().enqueue(low);
  rig.enqueue(high);
  while (!rig.answer(high).over()) REQUIRE(rig.run_step());
  CHECK_FALSE(rig.answer(low).over());
  rig.settle();
  CHECK(rig.answer(low).tokens == expected(rig, low));
  CHECK(rig.answer(high).tokens == expected(rig, high));
}

TEST_CASE("batcher: nobody is preempted more often than the limit") {
  BatcherConfig config = small_config();
  config.kv_blocks = 10;
  Rig rig(config);
  rig.warm();
  std::vector<Enqueue> all;
  for (uint64_t i = 1; i <= 8; ++i) {
    all.push_back(rig.request(i, prompt_of(8, static_cast<int32_t>(i * 100)), 100));
    rig.enqueue(all.back());
  }
  rig.settle();
  CHECK(rig.batcher.status(rig.now).preemptions > 3);
  CHECK(rig.batcher.status(rig.now).preemptions <= 8 * kPreemptionsMax);
  for (const Enqueue& e : all) CHECK(rig.answer(e).tokens == expected(rig, e));
}

TEST_CASE("batcher: a prompt preempted while it is scored keeps its scores") {
  BatcherConfig config = small_config();
  config.kv_blocks = 9;
  config.max_rows = 3;
  Rig rig(config);
  const Enqueue old = rig.request(1, prompt_of(30), 80);
  Enqueue scored = rig.request(2, prompt_of(78, 400), 2);
  scored.score_prompt = true;
  rig.warm().enqueue(old);
  rig.enqueue(scored);
  rig.settle();
  CHECK(rig.batcher.status(rig.now).preemptions > 0);
  CHECK(rig.answer(scored).tokens == expected(rig, scored));
  REQUIRE(rig.answer(scored).prompt_logprobs.size() == 77);
  uint64_t kv = 0;
  for (size_t i = 0; i < 77; ++i) {
    kv = kv_after(kv, scored.prompt[i].value);
    CHECK(rig.answer(scored).prompt_logprobs[i].logprob == score(kv, scored.prompt[i + 1].value));
  }
}

}  // namespace batcher_test
