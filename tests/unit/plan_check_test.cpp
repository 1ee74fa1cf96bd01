// Plans that break the rules of model/step.h, given to the simplest backend that checks them.
#include "model/plan_check.h"

#include <doctest/doctest.h>

#include "tests/unit/oracle_rig.h"

using namespace troupe;
using namespace troupe::test;

TEST_CASE("plan check: a broken plan is refused with what is wrong") {
  Oracle o;
  o.driver.open({.slot = 0});
  o.sample({{0, 0, {1, 2, 3}, {0}}});
  const Piece good{0, 3, {4}, {0}};
  const auto refused = [&](const char* what) { CHECK(says(o.refusal(), what)); };
  SUBCASE("slots") {
    SUBCASE("not open") {
      o.driver.add({1, 0, {1}, {1}});
      refused("slot 1 is not open");
    }
    SUBCASE("opened twice") {
      o.driver.open({.slot = 0});
      refused("slot 0, which is open already");
    }
    SUBCASE("beyond the bound") {
      o.driver.open({.slot = 16});
      refused("opens slot 16 of 16");
    }
    SUBCASE("closed twice") {
      o.driver.close(2);
      refused("closes slot 2, which is not open");
    }
    SUBCASE("used after close") {
      o.driver.close(0).add(good);
      refused("slot 0 is not open");
    }
    SUBCASE("twice in a step") {
      o.driver.add(good).add(good);
      refused("slot 0 stands in two slices");
    }
    SUBCASE("bias") {
      SlotOpen s{.slot = 1};
      s.bias = {{4096, 1.f}};
      o.driver.open(s);
      refused("bias for token 4096");
    }
    SUBCASE("history") {
      SlotOpen s{.slot = 1};
      s.history = {-1};
      o.driver.open(s);
      refused("history of slot 1");
    }
  }
  SUBCASE("positions") {
    SUBCASE("gap") {
      o.driver.add({0, 4, {4}, {0}});
      refused("goes on at position 4 instead of 3");
    }
    SUBCASE("repeat") {
      o.driver.add({0, 2, {4}, {0}});
      refused("goes on at position 2 instead of 3");
    }
    SUBCASE("no rows") {
      o.driver.add({0, 3, {}, {0}});
      refused("has no rows");
    }
    SUBCASE("context") {
      o.driver.open({.slot = 1}).add({1, 799, {1, 2}, table_from(0, 801)});
      refused("reaches position 801 of 800");
    }
    SUBCASE("short table") {
      o.driver.add({0, 3, Tokens(14, 1), {0}});
      refused("has 1 blocks for 17 positions");
    }
    SUBCASE("too many rows") {
      o.driver.open({.slot = 1}).add({1, 0, Tokens(513, 1), table_from(1, 513)});
      refused("513 rows are more than the 512");
    }
  }
  SUBCASE("blocks") {
    SUBCASE("beyond") {
      o.driver.add({0, 3, {4}, {64}});
      refused("names block 64 of 64");
    }
    SUBCASE("negative") {
      o.driver.add({0, 3, {4}, {-1}});
      refused("names block -1 of 64");
    }
    SUBCASE("copy beyond") {
      o.driver.copy(0, 64);
      refused("copies block 64 of 64");
    }
    SUBCASE("two copies into one block") {
      o.driver.copy(0, 5).copy(1, 5);
      refused("copies two blocks into block 5");
    }
    SUBCASE("a copy of what is copied over") {
      o.driver.copy(0, 5).copy(5, 6);
      refused("copies block 5 and writes it by a copy");
    }
    SUBCASE("two writers") {
      o.driver.open({.slot = 1}).add(good).add({1, 0, {1}, {0}});
      refused("block 0 is written twice");
    }
    SUBCASE("reader and writer") {
      o.driver.open({.slot = 1}).add(good).add({1, 16, {1}, {0, 1}});
      refused("block 0 is read by slot 1");
    }
  }
  SUBCASE("tokens") {
    SUBCASE("beyond") {
      o.driver.add({0, 3, {4096}, {0}});
      refused("feeds token 4096");
    }
    SUBCASE("reference to nothing") {
      o.driver.add({0, 3, {-2}, {0}});
      refused("refers to slice 1");
    }
    SUBCASE("score missing") {
      o.driver.add({0, 3, {1, 2}, {0}, Out::score, 0, {5}});
      refused("score tokens outside");
    }
    SUBCASE("score beyond") {
      o.driver.add({0, 3, {1}, {0}, Out::score, 0, {4096}});
      refused("scores token 4096");
    }
    SUBCASE("output rows") {
      o.driver.add({0, 3, {1}, {0}, Out::sample, 2});
      refused("wants output from row 2 of 1");
    }
    SUBCASE("more drafts than rows") {
      o.driver.add({0, 3, {1, 2}, {0}, Out::sample, 0, {}, 2});
      refused("has 2 drafts in 2 rows");
    }
    SUBCASE("drafts that are not sampled") {
      o.driver.add({0, 3, {1, 2}, {0}, Out::sample, 1, {}, 1});
      refused("has drafts whose rows are not those it samples");
    }
    SUBCASE("drafts behind an unknown token") {
      o.driver.add({0, 3, {-1, 2}, {0}, Out::sample, -1, {}, 1});
      refused("has drafts behind a token that is not known yet");
    }
    SUBCASE("a reference to drafts") {
      o.sample({{0, 3, {1, 2}, {0}, Out::sample, -1, {}, 1}});
      o.driver.add({0, 4, {-1}, {0}});
      refused("refers to slice 0 of the step before, which sampled nothing to refer to");
    }
    SUBCASE("behind rejected drafts") {
      o.sample({{0, 3, {1, 2, 3}, {0}, Out::sample, -1, {}, 2}});
      o.driver.add({0, 6, {1}, {0}});
      refused("goes on at position 6 instead of 4");
    }
    SUBCASE("pooled") {
      o.driver.add({0, 3, {1}, {0}, Out::pooled});
      refused("pooled output");
    }
  }
}

TEST_CASE("plan check: plans out of order or changed on the way are refused") {
  Oracle o;
  o.driver.open({.slot = 0});
  o.sample({{0, 0, {1}, {0}}});
  StepPlan next = o.driver.add({0, 1, {4}, {0}}).seal();
  const auto refused = [&](const char* what) {
    const auto output = o.driver.submit(next);
    REQUIRE(!output.has_value());
    CHECK(says(output.error().message, what));
  };
  SUBCASE("changed after hashing") {
    next.tokens[0] = 5;
    refused("hash does not fit");
  }
  SUBCASE("a step was lost") {
    ++next.key.step;
    next.hash = hash_of(next);
    refused("step 3 follows step 1");
  }
  SUBCASE("another history") {
    next.key.prev_hash ^= 1;
    next.hash = hash_of(next);
    refused("prev_hash is not");
  }
  SUBCASE("another generation") {
    ++next.key.generation;
    next.hash = hash_of(next);
    refused("epoch or generation differs");
  }
}

TEST_CASE("plan check: each lane has a history of its own, steps are counted over all") {
  Oracle o({.lanes = 2});
  const auto run = [&](uint32_t lane) {
    const StepPlan plan = o.driver.seal(lane);
    return o.driver.submit(plan);
  };
  const auto ran = [&](uint32_t lane) {
    const auto output = run(lane);
    REQUIRE_MESSAGE(output.has_value(), message_of(output));
    return output->tokens;
  };
  const auto refused = [&](uint32_t lane, const char* what) {
    const auto output = run(lane);
    REQUIRE(!output.has_value());
    CHECK(says(output.error().message, what));
  };
  const Tokens first{5, 7}, second{9};
  o.driver.open({.slot = 0}).add({0, 0, first, {0}});
  const Tokens a = ran(0);
  o.driver.open({.slot = 1}).add({1, 0, second, {1}});
  const Tokens b = ran(1);
  SUBCASE("a reference is to the lane's own output") {
    o.driver.add({0, 2, {-1}, {0}});
    CHECK(ran(0).at(0) == oracle_continue_past_end(kOracleSeed, first, 2)[1]);
    o.driver.add({1, 1, {-1}, {1}});
    CHECK(ran(1).at(0) == oracle_continue_past_end(kOracleSeed, second, 2)[1]);
  }
  SUBCASE("a sequence may go on in another lane") {
    o.driver.add({0, 2, {a.at(0)}, {0}});
    CHECK(ran(1).at(0) == oracle_continue_past_end(kOracleSeed, first, 2)[1]);
    o.driver.add({1, 1, {-2}, {1}});
    refused(1, "refers to slice 1 of the step before, which sampled nothing to refer to");
  }
  SUBCASE("no such lane") {
    o.driver.add({0, 2, {1}, {0}});
    refused(2, "lane 2 of a group with 2 lanes");
  }
  SUBCASE("the hash of another lane's plan") {
    StepPlan plan = o.driver.add({0, 2, {1}, {0}}).seal(0);
    plan.key.lane = 1;
    plan.hash = hash_of(plan);
    const auto output = o.driver.submit(plan);
    REQUIRE(!output.has_value());
    CHECK(says(output.error().message, "prev_hash is not the hash of the plan before"));
  }
}

TEST_CASE("plan check: a lane goes on only behind its answer, other lanes meanwhile") {
  PlanCheck check(kOracleBudget, kOracleVocab, 2);
  Oracle unused;
  StepDriver driver(unused.partition);
  const StepPlan first = driver.open({.slot = 0}).add({0, 0, {1}, {0}}).seal(0);
  const StepPlan other = driver.open({.slot = 1}).add({1, 0, {1}, {1}}).seal(1);
  CHECK(check.answered(0));
  REQUIRE(check.admit(first).has_value());
  CHECK_FALSE(check.answered(0));
  CHECK(check.answered(1));
  REQUIRE(check.admit(other).has_value());
  const StepOutput answer{
      .key = first.key, .plan_hash = first.hash, .slices = {{.n_tokens = 1}}, .tokens = {3}};
  SUBCASE("before its answer") {
    const StepPlan next = driver.add({0, 1, {1}, {0}}).seal(0);
    const auto early = check.admit(next);
    REQUIRE(!early.has_value());
    CHECK(says(early.error().message, "lane 0 goes on before its last step has an answer"));
  }
  SUBCASE("an answer belongs to its lane") {
    StepOutput stray = answer;
    stray.key.lane = 1;
    CHECK_FALSE(check.check_answer(stray).has_value());
    stray.key.lane = 2;
    CHECK_FALSE(check.check_answer(stray).has_value());
  }
  SUBCASE("behind its answer") {
    REQUIRE(check.check_answer(answer).has_value());
    check.produced(answer);
    CHECK_FALSE(check.check_answer(answer).has_value());  // it has been given
    const StepPlan next = driver.add({0, 1, {-1}, {0}}).seal(0);
    REQUIRE(check.admit(next).has_value());
    CHECK(check.resolved_tokens(next) == Tokens{3});
  }
}
