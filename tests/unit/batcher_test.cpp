#include "cluster/batcher.h"

#include <doctest/doctest.h>

#include "tests/unit/batcher_rig.h"

using namespace troupe;
using namespace troupe::test;

namespace {

std::vector<TokenId> expected(const Rig& rig, const Enqueue& e) {
  return reference_answer(e.prompt, e.max_new, rig.config.vocab, e.stop_ids);
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
  const auto free_run = reference_answer(e.prompt, 50, rig.config.vocab);
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
  const auto free_run = reference_answer(e.prompt, 10, rig.config.vocab);
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
  for (int chunk = 0; chunk < 7; ++chunk) {
    REQUIRE(rig.plan->slices.size() == 2);
    CHECK(rig.plan->slices[0].n_rows == 1);
    CHECK(rig.plan->slices[1].n_rows == (chunk < 6 ? 16 : 4));
    CHECK((rig.plan->slices[1].out == Out::sample) == (chunk == 6));
    rig.run_step();
  }
  rig.settle();
  CHECK(rig.answer(long_one).tokens == expected(rig, long_one));
  CHECK(rig.answer(short_one).tokens == expected(rig, short_one));
}

TEST_CASE(
    "batcher: rows go to those that decode first, then to the oldest prefills, within the budget") {
  BatcherConfig config = small_config();
  config.max_rows = 20;
  Rig rig(config);
  const Enqueue a = rig.request(1, prompt_of(3), 40), b = rig.request(2, prompt_of(60, 9), 2),
                c = rig.request(3, prompt_of(60, 500), 2);
  rig.warm().enqueue(a);
  rig.run_step();
  rig.enqueue(b);
  rig.enqueue(c);
  rig.run_step();
  REQUIRE(rig.plan->slices.size() == 3);
  CHECK(rig.plan->slices[0].n_rows == 1);
  CHECK(rig.plan->slices[1].n_rows == 16);
  CHECK(rig.plan->slices[2].n_rows == 3);
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
  CHECK(rig.plan->slices[0].pos0 == 16);
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
    CHECK(rig.answer(choices[static_cast<size_t>(choice)]).cached_tokens == (choice == 0 ? 0 : 64));
  }
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
  CHECK(rig.answer(newer_again).cached_tokens == 32);
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
  config.prefill_chunk = 2;
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
