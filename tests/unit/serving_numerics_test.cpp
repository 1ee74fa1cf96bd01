#include "cluster/serving_numerics.h"

#include <doctest/doctest.h>

using namespace troupe;

TEST_CASE(
    "serving numerics: kept while a ready group has them, else those of the first ready one") {
  RoutingTable table;
  const auto list = [&](const char* model, uint8_t numerics, GroupState state) {
    GroupEndpoint group;
    group.group = GroupId(static_cast<uint32_t>(table.groups.size()));
    group.model = model;
    group.state = state;
    group.numerics_id[0] = numerics;
    table.groups.push_back(group);
  };
  const auto now = [&](uint8_t current) {
    return int{serving_numerics(table, "m", Digest{current})[0]};
  };
  CHECK(now(5) == 5);  // nothing is known
  list("other", 9, GroupState::ready);
  list("m", 3, GroupState::starting);
  CHECK(now(5) == 5);
  list("m", 2, GroupState::ready);
  list("m", 1, GroupState::ready);
  CHECK(now(5) == 2);
  CHECK(now(1) == 1);
  CHECK(now(3) == 2);  // it has not started yet
}
