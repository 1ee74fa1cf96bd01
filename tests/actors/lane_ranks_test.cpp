// Device lanes of one group, as threads: they meet in shared memory, agree, step and end together.
#include <doctest/doctest.h>
#include <fcntl.h>

#include <future>
#include <memory>
#include <vector>

#include "actors/lane.h"
#include "model/oracle/oracle_partition.h"
#include "model/oracle/oracle_reference.h"
#include "net/shm_collective.h"
#include "tests/support/message_of.h"
#include "tests/support/step_driver.h"

using namespace troupe;

namespace lane_ranks_test {
namespace {

constexpr uint32_t kGeneration = 3;

struct Group {
  std::shared_ptr<ShmMap> map;
  std::vector<std::shared_ptr<RankMemory>> memories;
  std::vector<std::unique_ptr<DeviceLane>> lanes;

  explicit Group(int ranks) {
    auto made = ShmMap::create(ranks, kGeneration);
    REQUIRE(made.has_value());
    map = *made;
    for (int rank = 0; rank < ranks; ++rank) {
      memories.push_back(std::make_shared<RankMemory>());
      lanes.push_back(std::make_unique<DeviceLane>(memories.back()));
    }
  }
  void share(size_t rank) {
    memories[rank]->put(GroupId(1), Generation(kGeneration),
                        FileDescriptor(::fcntl(map->descriptor(), F_DUPFD_CLOEXEC, 0)));
  }
  std::future<Result<LoadedModel>> load(size_t rank, LoadOrder order) {
    auto promise = std::make_shared<std::promise<Result<LoadedModel>>>();
    order.rank = static_cast<int32_t>(rank);
    lanes[rank]->load(
        std::move(order), [](HostPort) { FAIL("ranks of one host don't listen"); },
        [promise](Result<LoadedModel> loaded) { promise->set_value(loaded); });
    return promise->get_future();
  }
  std::future<Error> follow(size_t rank) {
    auto promise = std::make_shared<std::promise<Error>>();
    lanes[rank]->follow(
        60s, [] {}, [promise](Error why) { promise->set_value(why); });
    return promise->get_future();
  }
};

LoadOrder order(int32_t tensor_parallel, int32_t pipeline_parallel) {
  LoadOrder o;
  o.group = GroupId(1);
  o.generation = Generation(kGeneration);
  o.model = "oracle";
  o.backend = "oracle";
  o.tensor_parallel = tensor_parallel;
  o.pipeline_parallel = pipeline_parallel;
  return o;
}

}  // namespace

TEST_CASE("device lane: ranks with room for different numbers serve with the least") {
  Group group(3);
  std::vector<std::future<Result<LoadedModel>>> loads;
  for (size_t rank = 0; rank < 3; ++rank) {
    LoadOrder o = order(3, 1);
    o.kv_blocks = rank == 1 ? 17 : 90;
    o.max_slots = rank == 2 ? 5 : 9;
    group.share(rank);
    loads.push_back(group.load(rank, o));
  }
  for (auto& load : loads) {
    const auto loaded = load.get();
    REQUIRE_MESSAGE(loaded.has_value(), test::message_of(loaded));
    CHECK(loaded->plan.budget.kv_blocks == 17);
    CHECK(loaded->plan.budget.max_slots == 5);
    CHECK(loaded->plan.budget.context == 256);
  }
}

TEST_CASE("device lane: a rank that can't load lets the group end it for all") {
  Group group(2);
  group.share(0);
  group.share(1);
  LoadOrder impossible = order(1, 2);
  impossible.kv_blocks = 1;
  auto waiting = group.load(0, order(1, 2));
  const auto failed = group.load(1, impossible).get();
  REQUIRE(!failed.has_value());
  CHECK(failed.error().param == "kv_memory");
  set_abort(*group.map, kGeneration);  // the node's part
  const auto loaded = waiting.get();
  REQUIRE(!loaded.has_value());
  CHECK(loaded.error().code == ErrorCode::aborted);
}

TEST_CASE("device lane: an abort ends the wait for the memory and for the other ranks") {
  Group group(2);
  auto no_memory = group.load(0, order(2, 1));
  group.share(1);
  auto no_peer = group.load(1, order(2, 1));
  for (auto& lane : group.lanes) lane->abort();
  for (auto* load : {&no_memory, &no_peer}) {
    const auto loaded = load->get();
    REQUIRE(!loaded.has_value());
    CHECK(loaded.error().code == ErrorCode::aborted);
  }
}

TEST_CASE("device lane: ranks that follow end with the generation and say why") {
  Group group(2);
  std::vector<std::future<Result<LoadedModel>>> loads;
  for (size_t rank = 0; rank < 2; ++rank) {
    group.share(rank);
    loads.push_back(group.load(rank, order(2, 1)));
  }
  for (auto& load : loads) REQUIRE(load.get().has_value());
  auto ended = group.follow(1);
  SUBCASE("the node ends it") { set_abort(*group.map, kGeneration); }
  SUBCASE("rank 0 is told to") { group.lanes[0]->abort(); }
  SUBCASE("this rank is told to") { group.lanes[1]->abort(); }
  CHECK(ended.get().code == ErrorCode::aborted);
}

TEST_CASE("device lane: plans of all lanes go through a pipeline in order, each fed by its own") {
  Group group(3);
  std::vector<std::future<Result<LoadedModel>>> loads;
  for (size_t rank = 0; rank < 3; ++rank) {
    group.share(rank);
    loads.push_back(group.load(rank, order(1, 3)));
  }
  for (auto& load : loads) REQUIRE(load.get().has_value());
  std::vector<std::future<Error>> ends;
  for (size_t rank = 1; rank < 3; ++rank) ends.push_back(group.follow(rank));
  OraclePartition unused;
  test::StepDriver builder(unused);
  std::vector<std::future<BatcherInput>> answers;
  const auto run = [&](int32_t lane, int32_t position, int32_t token) {
    if (position == 0) builder.open({.slot = lane});
    builder.add({.slot = lane, .pos0 = position, .tokens = {token}, .table = {lane}});
    auto promise = std::make_shared<std::promise<BatcherInput>>();
    answers.push_back(promise->get_future());
    group.lanes[0]->run(std::make_shared<const StepPlan>(builder.seal(static_cast<uint32_t>(lane))),
                        60s,
                        [promise](BatcherInput input) { promise->set_value(std::move(input)); });
  };
  // One plan a stage and one that waits; then each answer makes room for one.
  std::vector<std::vector<int32_t>> drawn(3);
  for (int32_t lane = 0; lane < 3; ++lane) run(lane, 0, 10 + lane);
  for (int32_t i = 0; i < 12; ++i) {
    run(i % 3, 1 + i / 3, -1);
    const BatcherInput input = answers[static_cast<size_t>(i)].get();
    const auto* done = std::get_if<batcher_in::StepDone>(&input);
    REQUIRE(done != nullptr);
    CHECK(done->output->key.lane == static_cast<uint32_t>(i % 3));
    drawn[static_cast<size_t>(i % 3)].push_back(done->output->tokens.at(0));
  }
  for (int32_t lane = 0; lane < 3; ++lane) {
    const std::vector<int32_t> prompt{10 + lane};
    CHECK(drawn[static_cast<size_t>(lane)] == oracle_continue_past_end(kOracleSeed, prompt, 4));
  }
  group.lanes[0]->abort();
  for (auto& end : ends) CHECK(end.get().code == ErrorCode::aborted);
}

}  // namespace lane_ranks_test
