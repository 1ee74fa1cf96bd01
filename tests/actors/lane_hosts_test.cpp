// Device lanes of one group whose ranks are on several hosts, as threads: they listen, are told of
// each other, meet over TLS (and in shared memory where two share a host), step and end together.
#include <doctest/doctest.h>
#include <fcntl.h>

#include <future>
#include <map>
#include <memory>
#include <vector>

#include "actors/lane.h"
#include "model/oracle/oracle_partition.h"
#include "model/oracle/oracle_reference.h"
#include "tests/support/message_of.h"
#include "tests/support/step_driver.h"

using namespace troupe;

namespace lane_hosts_test {
namespace {

constexpr uint32_t kGeneration = 4;

/// The part of the nodes: shares memory inside hosts and tells ranks of each other.
struct Group {
  std::vector<int32_t> hosts;
  double timing_scale = 1;
  std::vector<std::shared_ptr<RankMemory>> memories;
  std::vector<std::future<HostPort>> listening;
  std::vector<std::future<Result<LoadedModel>>> loads;
  std::vector<std::unique_ptr<DeviceLane>> lanes;

  explicit Group(std::vector<int32_t> by_rank, double scale = 1)
      : hosts(std::move(by_rank)), timing_scale(scale) {
    std::map<int32_t, std::shared_ptr<ShmMap>> maps;
    for (int32_t host : hosts) {
      const auto ranks = static_cast<int>(std::ranges::count(hosts, host));
      if (ranks > 1 && !maps.contains(host)) maps[host] = *ShmMap::create(ranks, kGeneration);
    }
    for (int32_t host : hosts) {
      memories.push_back(std::make_shared<RankMemory>());
      if (maps.contains(host))
        memories.back()->put(GroupId(1), Generation(kGeneration),
                             FileDescriptor(::fcntl(maps[host]->descriptor(), F_DUPFD_CLOEXEC, 0)));
      lanes.push_back(
          std::make_unique<DeviceLane>(memories.back(), RankListen{"127.0.0.1", {0, 0}}));
    }
  }
  void load(int32_t rank) {
    LoadOrder order;
    order.group = GroupId(1);
    order.generation = Generation(kGeneration);
    order.model = order.backend = "oracle";
    order.pipeline_parallel = static_cast<int32_t>(hosts.size());
    order.rank = rank;
    order.hosts = hosts;
    order.timing_scale = timing_scale;
    auto at = std::make_shared<std::promise<HostPort>>();
    auto done = std::make_shared<std::promise<Result<LoadedModel>>>();
    listening.push_back(at->get_future());
    loads.push_back(done->get_future());
    lanes[static_cast<size_t>(rank)]->load(
        order, [at](HostPort address) { at->set_value(std::move(address)); },
        [done](Result<LoadedModel> loaded) { done->set_value(std::move(loaded)); });
  }
  void load_all() {
    for (int32_t rank = 0; rank < static_cast<int32_t>(hosts.size()); ++rank) load(rank);
  }
  RankJoin everybody() {
    RankJoin join{GroupId(1), Generation(kGeneration), {}, {}};
    for (auto& each : listening) join.addresses.push_back(each.get());
    join.key.fill(7);
    return join;
  }
  void join(const RankJoin& everybody) {
    for (auto& lane : lanes) lane->join(everybody);
  }
};

/// One prompt through rank 0, and what it draws.
std::vector<int32_t> draw(DeviceLane& head, int32_t token, int32_t count) {
  OraclePartition unused;
  test::StepDriver builder(unused);
  builder.open({.slot = 0});
  std::vector<int32_t> drawn;
  for (int32_t position = 0; position < count; ++position) {
    builder.add({.slot = 0,
                 .pos0 = position,
                 .tokens = {position == 0 ? token : drawn.back()},
                 .table = {0}});
    auto promise = std::make_shared<std::promise<BatcherInput>>();
    head.run(std::make_shared<const StepPlan>(builder.seal()), 60s,
             [promise](BatcherInput input) { promise->set_value(std::move(input)); });
    const BatcherInput input = promise->get_future().get();
    const auto* done = std::get_if<batcher_in::StepDone>(&input);
    REQUIRE(done != nullptr);
    drawn.push_back(done->output->tokens.at(0));
  }
  return drawn;
}

}  // namespace

TEST_CASE("device lane: ranks of several hosts meet where each listens and answer as one does") {
  for (const std::vector<int32_t>& hosts :
       {std::vector<int32_t>{0, 1, 2}, {0, 0, 1}, {0, 1, 1}, {0, 0, 1, 1}}) {
    CAPTURE(hosts.size());
    Group group(hosts);
    group.load_all();
    group.join(group.everybody());
    for (auto& load : group.loads) {
      const auto loaded = load.get();
      REQUIRE_MESSAGE(loaded.has_value(), test::message_of(loaded));
    }
    std::vector<std::future<Error>> ends;
    for (size_t rank = 1; rank < hosts.size(); ++rank) {
      auto promise = std::make_shared<std::promise<Error>>();
      ends.push_back(promise->get_future());
      group.lanes[rank]->follow(
          60s, [] {}, [promise](Error why) { promise->set_value(std::move(why)); });
    }
    const std::vector<int32_t> prompt{17};
    CHECK(draw(*group.lanes[0], 17, 6) == oracle_continue_past_end(kOracleSeed, prompt, 6));
    group.lanes[0].reset();  // as when its process ends
    for (auto& end : ends) {
      const ErrorCode code = end.get().code;
      const bool noticed = code == ErrorCode::unavailable || code == ErrorCode::aborted;
      CHECK_MESSAGE(noticed, name_of(code));
    }
  }
}

TEST_CASE("device lane: a rank that is told of no others says so, and where to look") {
  Group group({0, 1}, 0.02);
  group.load(0);
  RankJoin stale{GroupId(1), Generation(kGeneration - 1), {group.listening[0].get()}, {}};
  group.lanes[0]->join(stale);
  const auto loaded = group.loads[0].get();
  REQUIRE(!loaded.has_value());
  CHECK(loaded.error().code == ErrorCode::deadline_exceeded);
  CHECK(loaded.error().message ==
        "not all ranks of generation 4 were ready to meet within 0.2 s; the logs of their nodes "
        "say why");
}

TEST_CASE("device lane: a rank with another key stays out, and those that wait name it") {
  Group group({0, 1}, 0.1);
  group.load_all();
  RankJoin join = group.everybody();
  group.lanes[0]->join(join);
  join.key.fill(8);
  group.lanes[1]->join(join);
  for (auto& load : group.loads) {
    const auto loaded = load.get();
    REQUIRE(!loaded.has_value());
    CHECK(loaded.error().code == ErrorCode::deadline_exceeded);
    CHECK(loaded.error().message.find("rank") != std::string::npos);
  }
}

TEST_CASE("device lane: an abort ends the wait to be told of the others, and for them") {
  Group group({0, 1});
  group.load(0);
  const HostPort own = group.listening[0].get();
  SUBCASE("untold") {}
  SUBCASE("told of one that does not come") {
    group.lanes[0]->join({GroupId(1), Generation(kGeneration), {own, {"127.0.0.1", 1}}, {}});
  }
  group.lanes[0]->abort();
  const auto loaded = group.loads[0].get();
  REQUIRE(!loaded.has_value());
  CHECK(loaded.error().code == ErrorCode::aborted);
}

TEST_CASE("device lane: an order whose hosts are not its ranks is refused") {
  Group group({0, 1});
  group.hosts = {0, 1, 2};
  LoadOrder order;
  order.tensor_parallel = 2;
  order.hosts = {0, 1, 1};
  auto done = std::make_shared<std::promise<Result<LoadedModel>>>();
  group.lanes[0]->load(
      order, [](HostPort) { FAIL("nobody waits for it"); },
      [done](Result<LoadedModel> loaded) { done->set_value(std::move(loaded)); });
  const auto loaded = done->get_future().get();
  REQUIRE(!loaded.has_value());
  CHECK(loaded.error().message ==
        "the order to load names 3 hosts for rank 0 of 2; start all nodes from one build");
}

}  // namespace lane_hosts_test
