#include "cluster/group_choice.h"

#include <doctest/doctest.h>

#include "cluster/group_table.h"

namespace troupe {
namespace group_choice_test {
namespace {

GroupCandidate candidate(uint32_t id, int64_t cached, int64_t queued, int32_t sequences) {
  GroupCandidate c;
  c.group = GroupId(id);
  c.cached_tokens = cached;
  c.queued_tokens = queued;
  c.sequences = sequences;
  return c;
}

TEST_CASE("group choice: the least work, counting what is cached and what is queued") {
  std::vector<GroupCandidate> candidates{candidate(1, 0, 100, 0), candidate(2, 0, 50, 0)};
  CHECK(choose_group(candidates, 1'000) == GroupId(2));
  candidates[0].cached_tokens = 96;
  CHECK(choose_group(candidates, 1'000) == GroupId(1));
  candidates[0].sequences = 100;  // a long queue outweighs a short cached prefix
  CHECK(choose_group(candidates, 1'000) == GroupId(2));
  CHECK_FALSE(choose_group({}, 5));
}

TEST_CASE("group choice: ties go to the lowest id, slow and just failed groups come last") {
  std::vector<GroupCandidate> candidates{candidate(2, 0, 0, 0), candidate(1, 0, 0, 0)};
  CHECK(choose_group(candidates, 10) == GroupId(1));
  candidates[1].slow = true;
  CHECK(choose_group(candidates, 10) == GroupId(2));
  candidates[0].avoid = true;
  CHECK(choose_group(candidates, 10) == GroupId(1));
  candidates.pop_back();
  CHECK(choose_group(candidates, 10) == GroupId(2));
}

TEST_CASE("group table: a lower version of the routing table is stale") {
  GroupTable table{Limits{}};
  RoutingTable routing;
  routing.node = Incarnation(1);
  routing.version = 5;
  CHECK(table.set_table({}, routing));
  CHECK_FALSE(table.set_table({}, routing));
  routing.version = 4;
  CHECK_FALSE(table.set_table({}, routing));
  routing.node = Incarnation(2);
  CHECK(table.set_table({}, routing));
}

TEST_CASE("group table: three times slower than its peers for 10 s is slow") {
  GroupTable table{Limits{}};
  RoutingTable routing;
  routing.version = 1;
  for (uint32_t id = 1; id <= 2; ++id) {
    GroupEndpoint endpoint;
    endpoint.group = GroupId(id);
    endpoint.model = "m";
    endpoint.state = GroupState::ready;
    routing.groups.push_back(endpoint);
    table.set_link(GroupId(id), Incarnation(id), true);
  }
  Time now{100s};
  table.set_table(now, routing);
  const auto slow_second = [&](Duration second) {
    for (uint32_t id = 1; id <= 2; ++id) {
      GroupStatus status;
      status.group = GroupId(id);
      status.step_p99 = id == 2 ? second : Duration(10ms);
      table.set_status(now, Incarnation(id), status);
    }
    return table.candidates("m", now).at(1).slow;
  };
  CHECK_FALSE(slow_second(31ms));
  now += kSlowAfter - 1ms;
  CHECK_FALSE(slow_second(31ms));
  now += 1ms;
  CHECK(slow_second(31ms));
  CHECK_FALSE(slow_second(30ms));
}

}  // namespace
}  // namespace group_choice_test
}  // namespace troupe
