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
