// The batcher for a pipeline: plans in lanes, as many as it has stages.
#include <doctest/doctest.h>

#include <set>

#include "tests/unit/batcher_rig.h"

using namespace troupe;
using namespace troupe::test;

namespace batcher_lanes_test {
namespace {

BatcherConfig pipeline(int32_t lanes) {
  BatcherConfig config = small_config();
  config.plans_in_flight = 2;
  config.lanes = lanes;
  return config;
}

std::vector<TokenId> expected(const Rig& rig, const Enqueue& e) {
  return reference_answer(e.prompt, e.max_new, rig.words, e.stop_ids);
}

std::vector<uint32_t> lanes_of(const Rig& rig) {
  std::vector<uint32_t> lanes;
  for (const auto& plan : rig.in_flight()) lanes.push_back(plan->key.lane);
  return lanes;
}

std::vector<Enqueue> streams(Rig& rig, int count, int32_t length) {
  std::vector<Enqueue> all;
  for (int i = 0; i < count; ++i)
    all.push_back(rig.request(static_cast<uint64_t>(i + 1), prompt_of(3 + i, 1 + 60 * i), length));
  return all;
}

/// Enqueued, and far enough on that all decode.
std::vector<Enqueue> decoding(Rig& rig, int count, int32_t length = 40) {
  auto all = streams(rig, count, length);
  rig.warm();
  for (const Enqueue& e : all) rig.enqueue(e);
  for (int i = 0; i < 4 * rig.config.lanes; ++i) rig.run_step();
  return all;
}

}  // namespace

TEST_CASE("batcher: each stage of a pipeline has a plan, and one waits") {
  for (int32_t lanes : {2, 3, 4}) {
    CAPTURE(lanes);
    Rig rig(pipeline(lanes));
    const auto asked = decoding(rig, 2 * lanes);
    for (int i = 0; i < 5 * lanes; ++i) {
      const auto in_flight = lanes_of(rig);
      REQUIRE(static_cast<int32_t>(in_flight.size()) == lanes + 1);
      // In turn: those that run are of as many lanes, the one that waits is of the oldest's.
      CHECK(std::set(in_flight.begin(), in_flight.end() - 1).size() == static_cast<size_t>(lanes));
      CHECK(in_flight.back() == in_flight.front());
      rig.run_step();
    }
    rig.settle();
    for (const Enqueue& e : asked) CHECK(rig.answer(e).tokens == expected(rig, e));
  }
}

TEST_CASE(
    "batcher: streams are divided evenly among the lanes of a pipeline, also after some end") {
  Rig rig(pipeline(2));
  auto asked = decoding(rig, 5);
  const auto rows = [&] {
    std::multiset<size_t> sizes;
    for (const auto& plan : {rig.plan, rig.ahead}) sizes.insert(plan->slices.size());
    return sizes;
  };
  CHECK(rows() == std::multiset<size_t>{2, 3});
  // All of one lane go; those of the other are spread anew.
  std::set<int32_t> slots;
  const auto lane = rig.plan->key.lane;
  std::vector<Enqueue> left;
  for (const Enqueue& e : asked) {
    const size_t had = rig.answer(e).tokens.size();
    rig.run_step();
    rig.run_step();
    CHECK(rig.answer(e).tokens.size() > had);
  }
  rig.cancel(asked[0]);
  rig.cancel(asked[1]);
  rig.cancel(asked[2]);
  for (int i = 0; i < 6; ++i) rig.run_step();
  CHECK(rows() == std::multiset<size_t>{1, 1});
  CHECK(lane < 2);
  rig.settle();
  CHECK(rig.answer(asked[3]).tokens == expected(rig, asked[3]));
  CHECK(rig.answer(asked[4]).tokens == expected(rig, asked[4]));
}

TEST_CASE("batcher: one stream of a pipeline has one lane, and its plans name each other's rows") {
  Rig rig(pipeline(3));
  const auto asked = decoding(rig, 1);
  for (int i = 0; i < 10; ++i) {
    const auto lanes = lanes_of(rig);
    REQUIRE(lanes.size() == 2);
    CHECK(lanes[0] == lanes[1]);
    CHECK(rig.ahead->tokens == std::vector<int32_t>{-1});
    CHECK(rig.ahead->key.prev_hash == rig.plan->hash);
    rig.run_step();
  }
  rig.settle();
  CHECK(rig.answer(asked[0]).tokens == expected(rig, asked[0]));
}

TEST_CASE("batcher: chunks of one prompt follow each other in different lanes of a pipeline") {
  BatcherConfig config = pipeline(2);
  config.max_rows = 16;
  config.context = 512;
  Rig rig(config);
  const Enqueue e = rig.request(1, prompt_of(100), 5);
  rig.warm().enqueue(e);
  REQUIRE(rig.in_flight().size() >= 2);
  CHECK(rig.plan->key.lane != rig.ahead->key.lane);
  CHECK(rig.plan->slices[0].pos0 == 0);
  CHECK(rig.ahead->slices[0].pos0 == rig.plan->slices[0].n_rows);
  rig.settle();
  CHECK(rig.answer(e).tokens == expected(rig, e));
}

TEST_CASE("batcher: a pipeline is emptied before somebody is preempted, and no lane starves") {
  BatcherConfig config = pipeline(2);
  config.kv_blocks = 9;
  Rig rig(config);
  std::vector<Enqueue> asked;
  for (uint64_t i = 0; i < 4; ++i)
    asked.push_back(rig.request(i + 1, prompt_of(15, static_cast<int32_t>(1 + 90 * i)), 45));
  rig.warm();
  for (const Enqueue& e : asked) rig.enqueue(e);
  uint64_t preemptions = 0;
  std::map<uint32_t, int> since;  // steps of other lanes since a lane's last
  while (rig.run_step()) {
    const GroupStatus status = rig.batcher.status(rig.now);
    if (status.preemptions > preemptions) {
      preemptions = status.preemptions;
      // Only what was made just now is in flight.
      CHECK(rig.in_flight().front()->key.step > rig.last_plan->key.step);
    }
  }
  CHECK(preemptions > 0);
  for (const Enqueue& e : asked) CHECK(rig.answer(e).tokens == expected(rig, e));
}

TEST_CASE("batcher: drafts in one lane of a pipeline do not hold the others") {
  // With a loop of three, most drafts are right once it is known that they are.
  Rig rig(pipeline(2), 3);
  std::vector<Enqueue> asked = decoding(rig, 4, 120);
  bool drafted_beside_another = false;
  while (rig.run_step()) {
    const auto in_flight = rig.in_flight();
    if (in_flight.size() < 2 || in_flight[0]->key.lane == in_flight[1]->key.lane) continue;
    for (const Slice& slice : in_flight[1]->slices) drafted_beside_another |= slice.n_draft > 0;
  }
  CHECK(drafted_beside_another);
  for (const Enqueue& e : asked) CHECK(rig.answer(e).tokens == expected(rig, e));
}

TEST_CASE(
    "batcher: a cancelled sequence of a pipeline holds what it has until its plans are done") {
  Rig rig(pipeline(3));
  auto asked = decoding(rig, 3);
  const auto before = rig.in_flight();
  for (const Enqueue& e : asked) rig.cancel(e);
  for (size_t i = 0; i < before.size(); ++i) {
    CHECK(rig.batcher.status(rig.now).blocks_used > 0);
    rig.run_step();
  }
  CHECK(rig.batcher.status(rig.now).blocks_used == 0);
  CHECK(rig.plan == nullptr);
}

TEST_CASE("batcher: an idle pipeline proves itself with one canary at a time") {
  Rig rig(pipeline(3));
  rig.warm();
  for (int i = 0; i < 5; ++i) {
    rig.now += rig.config.canary_interval;
    rig.tick();
    CHECK(rig.in_flight().size() == 1);
    rig.run_step();
    CHECK(rig.in_flight().empty());
  }
  rig.input(batcher_in::Drain{});
  CHECK(rig.drained == 1);
  CHECK(rig.in_flight().empty());
}

}  // namespace batcher_lanes_test
