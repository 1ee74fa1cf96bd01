#include "cluster/speculation.h"

#include <doctest/doctest.h>

#include <random>

#include "config/limits.h"
#include "tests/unit/batcher_rig.h"

using namespace troupe;
using namespace troupe::test;

namespace speculation_test {
namespace {

std::vector<TokenId> tokens(std::initializer_list<int32_t> ids) {
  std::vector<TokenId> all;
  for (int32_t id : ids) all.emplace_back(id);
  return all;
}

void see(Speculation& s, int32_t length, Drawing drawing, int right, int wrong) {
  for (int i = 0; i < std::max(right, wrong); ++i) {
    if (i < right) s.saw(length, drawing, true);
    if (i < wrong) s.saw(length, drawing, false);
  }
}

}  // namespace

// -- the index
// ---------------------------------------------------------------------------------------------------

TEST_CASE("draft index: finds what followed the newest place of the longest match") {
  DraftIndex index;
  auto all = tokens({5, 6, 7, 8, 1, 7, 8, 2, 6, 7, 8});
  index.extend(all);
  CHECK(index.match().length == 3);
  CHECK(index.match().next == 4);
  all.push_back(TokenId(2));
  index.extend(all);
  CHECK(index.match().length == 3);  // 7 8 2
  CHECK(index.match().next == 8);
  all.push_back(TokenId(99));
  index.extend(all);
  CHECK(index.match().length == 0);
}

TEST_CASE("draft index: equals a search of all places, however the tokens come") {
  const uint32_t seed = 11;
  INFO("seed " << seed);
  std::mt19937 random(seed);
  for (int run = 0; run < 50; ++run) {
    DraftIndex index;
    std::vector<TokenId> all;
    int found = 0, missed = 0;
    while (all.size() < 600) {
      const auto more = 1 + random() % 40;
      for (size_t i = 0; i < more; ++i) all.emplace_back(static_cast<int32_t>(random() % 12));
      index.extend(all);
      DraftIndex::Match best;
      const auto end = static_cast<int32_t>(all.size());
      for (int32_t length = std::min(4, end); length >= 2 && best.length == 0; --length)
        for (int32_t at = end - 1; at >= length && best.length == 0; --at)
          if (std::equal(all.begin() + at - length, all.begin() + at, all.end() - length))
            best = {length, at};
      const auto got = index.match();
      if (got.length == best.length && got.next == best.next) {
        ++found;
      } else {
        ++missed;  // pushed out by another: shorter or none, and still a true match
        CHECK(got.length <= best.length);
        if (got.length > 0)
          CHECK(std::equal(all.begin() + got.next - got.length, all.begin() + got.next,
                           all.end() - got.length));
      }
    }
    CHECK(missed * 2 < found);
  }
}

// -- the decision
// ------------------------------------------------------------------------------------------------

TEST_CASE("speculation: trusts no kind of match before enough trials") {
  Speculation s;
  see(s, 4, Drawing::greedy, kDraftTrialsMin - 1, 0);
  CHECK(s.drafts(4, Drawing::greedy, 0.1) == 0);
  s.saw(4, Drawing::greedy, true);
  CHECK(s.drafts(4, Drawing::greedy, 0.1) == kDraftsMax);
  CHECK(s.drafts(4, Drawing::random, 0.1) == 0);
  CHECK(s.drafts(3, Drawing::greedy, 0.1) == 0);
  CHECK(s.drafts(0, Drawing::greedy, 0.0) == 0);
}

TEST_CASE("speculation: as many drafts as each pays for its row") {
  Speculation s;
  see(s, 4, Drawing::greedy, 500, 500);  // each is right half the time
  CHECK(s.drafts(4, Drawing::greedy, 0.9) == 0);
  CHECK(s.drafts(4, Drawing::greedy, 0.3) == 1);
  CHECK(s.drafts(4, Drawing::greedy, 0.15) == 2);
  CHECK(s.drafts(4, Drawing::greedy, 1e-9) == kDraftsMax);
}

TEST_CASE("speculation: stops when what it foretells ceases to come true, and begins again") {
  Speculation s;
  see(s, 2, Drawing::random, 100, 0);
  see(s, 3, Drawing::random, 100, 0);
  CHECK(s.drafts(2, Drawing::random, 0.3) >= 2);
  see(s, 2, Drawing::random, 0, 100);
  CHECK(s.drafts(2, Drawing::random, 0.3) == 0);
  see(s, 2, Drawing::random, 100, 0);
  CHECK(s.drafts(2, Drawing::random, 0.3) >= 2);
}

// -- the batcher
// -------------------------------------------------------------------------------------------------

TEST_CASE("batcher: an answer that repeats itself comes in fewer steps, and is the same") {
  for (int32_t plans : {1, 2}) {
    BatcherConfig config = small_config();
    config.plans_in_flight = plans;
    Rig rig(config, /*loop=*/6);
    Enqueue e = rig.request(1, prompt_of(20), 180);
    e.sampling.n_logprobs = 1;
    rig.warm().enqueue(e);
    int steps = 0;
    while (rig.plan) {
      rig.run_step();
      ++steps;
    }
    const auto whole = reference_answer(e.prompt, 180, rig.words);
    CHECK(rig.answer(e).tokens == whole);
    CHECK(rig.answer(e).finish == Finish::length);
    CHECK(steps < 160);
    uint64_t kv = 0;
    for (TokenId token : e.prompt) kv = kv_after(kv, token.value);
    REQUIRE(rig.answer(e).logprobs.size() == whole.size());
    for (size_t i = 0; i < whole.size(); ++i) {
      CHECK(rig.answer(e).logprobs[i].logprob == score(kv, whole[i].value));
      kv = kv_after(kv, whole[i].value);
    }
    const GroupStatus status = rig.batcher.status(rig.now);
    CHECK(status.drafts_right > 30);
    CHECK(status.drafted > status.drafts_right);
  }
}

TEST_CASE("batcher: a stop id among right drafts ends the answer there") {
  BatcherConfig config = small_config();
  Rig rig(config, /*loop=*/5);
  Enqueue e = rig.request(1, prompt_of(20), 200);
  const auto free_run = reference_answer(e.prompt, 200, rig.words);
  // One that the loop does not hold, late enough for drafts to be in use.
  size_t stop = 120;
  while (std::find(free_run.begin(), free_run.begin() + static_cast<long>(stop), free_run[stop]) !=
         free_run.begin() + static_cast<long>(stop))
    ++stop;
  e.stop_ids = {free_run[stop]};
  rig.warm().enqueue(e);
  rig.settle();
  CHECK(rig.answer(e).finish == Finish::stop);
  CHECK(rig.answer(e).tokens ==
        std::vector<TokenId>(free_run.begin(), free_run.begin() + static_cast<long>(stop)));
  CHECK(rig.batcher.status(rig.now).blocks_used == 0);
}

TEST_CASE(
    "batcher: an output that takes a wrong draft for right, or goes on behind one, is a fault") {
  const auto breaks = [](auto&& damage) {
    Rig rig(small_config(), /*loop=*/6);
    const Enqueue e = rig.request(1, prompt_of(20), 200);
    rig.warm().enqueue(e);
    while (rig.plan->slices[0].n_draft < 2) REQUIRE(rig.run_step());
    auto output = std::make_shared<StepOutput>(rig.device.run(*rig.plan));
    damage(*rig.plan, *output);
    rig.plan.reset();
    rig.input(batcher_in::StepDone{output});
    return rig.faults.size() == 1;
  };
  CHECK_FALSE(breaks([](const StepPlan&, StepOutput&) {}));
  CHECK(breaks([](const StepPlan& plan, StepOutput& o) {
    o.slices[0].n_tokens = 2;
    o.tokens.resize(16);
    o.logprob.resize(16);
    o.tokens[0] = (plan.tokens[1] + 1) % 1000;
  }));
  CHECK(breaks([](const StepPlan& plan, StepOutput& o) {
    o.slices[0].n_tokens = plan.slices[0].n_draft + 2;
    o.tokens.resize(16);
    o.logprob.resize(16);
  }));
  CHECK(breaks([](const StepPlan&, StepOutput& o) { o.slices[0].n_tokens = 0; }));
}

}  // namespace speculation_test
