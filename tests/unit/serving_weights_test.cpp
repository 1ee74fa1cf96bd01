#include "cluster/serving_weights.h"

#include <doctest/doctest.h>

#include <utility>
#include <vector>

using namespace troupe;

namespace serving_weights_test {
namespace {

GroupEndpoint group(uint32_t id, uint8_t weights, GroupState state = GroupState::ready) {
  GroupEndpoint e;
  e.group = GroupId(id);
  e.model = "m";
  e.state = state;
  e.weights_id[0] = weights;
  return e;
}

int served(std::vector<GroupEndpoint> groups) {
  GroupEndpoint neighbour = group(99, 9);
  neighbour.model = "another";
  groups.push_back(neighbour);
  return serving_weights({Incarnation(1), 1, std::move(groups)}, "m")[0];
}

}  // namespace

TEST_CASE("serving weights: those of most groups that have loaded, or of the lowest of as many") {
  CHECK(served({}) == 0);
  CHECK(served({group(2, 7)}) == 7);
  CHECK(served({group(1, 5), group(2, 7), group(3, 7)}) == 7);
  CHECK(served({group(3, 7), group(1, 8), group(2, 7), group(4, 8)}) == 8);
  CHECK(served({group(1, 5), group(2, 7), group(3, 7, GroupState::suspect)}) == 7);
  CHECK(served({group(1, 5), group(2, 7), group(3, 7, GroupState::starting)}) == 5);
  CHECK(served({group(1, 5, GroupState::failed), group(2, 7)}) == 7);
}

TEST_CASE("serving weights: a group has them or not; nothing is said while no group has loaded") {
  const RoutingTable table{Incarnation(1), 1, {group(1, 5), group(2, 7), group(3, 7)}};
  CHECK_FALSE(has_serving_weights(table, table.groups[0]));
  CHECK(has_serving_weights(table, table.groups[1]));
  const GroupEndpoint alone = group(1, 0, GroupState::starting);
  CHECK(has_serving_weights({Incarnation(1), 1, {alone}}, alone));
}

}  // namespace serving_weights_test
