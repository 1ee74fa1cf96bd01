// Ranks of several nodes: each says where it listens, and all are told once the last one has.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cluster/shard_group.h"
#include "tests/support/all_of_kind.h"

using namespace troupe;

namespace shard_group_meeting_test {
namespace {

HostPort place(int32_t rank) { return {"10.0.0.1", static_cast<uint16_t>(7000 + rank)}; }

struct Rig {
  explicit Rig(std::vector<std::string> nodes = {"n1", "n2", "n2"})
      : machine(GroupId(3), static_cast<int32_t>(nodes.size()), 1, nodes) {}
  ShardGroup machine;
  std::vector<GroupEffect> effects;  ///< of the last step
  Time now{};

  void step(const GroupInput& input) {
    effects.clear();
    machine.step(now, input, effects);
    machine.check();
  }
  template <class Effect>
  std::vector<Effect> all() const {
    return test::all_of_kind<Effect>(effects);
  }
  void up(int32_t rank, uint64_t process) { step(group_in::RankUp{rank, Incarnation(process)}); }
  /// Three processes that are told to load.
  void form(uint64_t first) {
    for (int32_t rank : {0, 1, 2}) up(rank, first + static_cast<uint64_t>(rank));
    REQUIRE(all<group_out::Load>().size() == 3);
  }
  void listens(int32_t rank, uint64_t process, uint32_t generation) {
    step(group_in::Listening{Incarnation(process),
                             {GroupId(3), Generation(generation), rank, place(rank)}});
  }
};

}  // namespace

TEST_CASE("shard group: ranks of several nodes are told where all are once the last one listens") {
  std::vector<int32_t> order{0, 1, 2};
  do {
    Rig rig;
    rig.form(10);
    for (size_t i = 0; i < 3; ++i) {
      CHECK(rig.all<group_out::Join>().empty());
      rig.listens(order[i], 10u + static_cast<uint64_t>(order[i]), 1);
    }
    const auto joins = rig.all<group_out::Join>();
    REQUIRE(joins.size() == 3);
    for (int32_t rank : {0, 1, 2}) {
      const group_out::Join& join = joins[static_cast<size_t>(rank)];
      CHECK(join.rank == rank);
      CHECK(join.incarnation == Incarnation(10u + static_cast<uint64_t>(rank)));
      CHECK(join.generation == Generation(1));
      CHECK(join.addresses == std::vector{place(0), place(1), place(2)});
    }
    CHECK(rig.machine.dropped() == 0);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("shard group: a place that does not count brings nobody together") {
  Rig rig;
  rig.form(10);
  rig.listens(0, 10, 1);
  rig.listens(1, 11, 1);
  SUBCASE("said twice") { rig.listens(0, 10, 1); }
  SUBCASE("of a process that is no rank") { rig.listens(2, 99, 1); }
  SUBCASE("of another generation") { rig.listens(2, 12, 2); }
  SUBCASE("of a rank that the group has not") { rig.listens(3, 12, 1); }
  CHECK(rig.effects.empty());
  CHECK(rig.machine.dropped() == 1);
  rig.listens(2, 12, 1);
  CHECK(rig.all<group_out::Join>().size() == 3);
  rig.listens(2, 12, 1);
  CHECK(rig.all<group_out::Join>().empty());
}

TEST_CASE("shard group: ranks of one node have nobody to look for") {
  for (const std::vector<std::string>& nodes :
       {std::vector<std::string>{}, std::vector<std::string>{"n1", "n1"}}) {
    ShardGroup machine(GroupId(3), 2, 1, nodes);
    std::vector<GroupEffect> out;
    for (int32_t rank : {0, 1})
      machine.step({}, group_in::RankUp{rank, Incarnation(10u + static_cast<uint64_t>(rank))}, out);
    out.clear();
    for (int32_t rank : {0, 1})
      machine.step({},
                   group_in::Listening{Incarnation(10u + static_cast<uint64_t>(rank)),
                                       {GroupId(3), Generation(1), rank, place(rank)}},
                   out);
    CHECK(out.empty());
    CHECK(machine.dropped() == 2);
  }
}

TEST_CASE("shard group: a rank replaced in the middle of the meeting begins another one") {
  Rig rig;
  rig.form(10);
  rig.listens(0, 10, 1);
  rig.listens(2, 12, 1);
  rig.up(2, 22);
  CHECK(rig.machine.reason() == "a rank's process was replaced");
  CHECK(rig.all<group_out::Disband>().size() == 1);
  CHECK(rig.all<group_out::Abort>().size() == 3);
  rig.listens(1, 11, 1);  // the last one of what is over
  CHECK(rig.effects.empty());
  rig.up(0, 20);
  rig.up(1, 21);
  REQUIRE(rig.all<group_out::Load>().size() == 3);
  rig.listens(0, 20, 2);
  rig.listens(1, 21, 2);
  CHECK(rig.all<group_out::Join>().empty());  // where rank 2 listened counts no more
  rig.listens(2, 22, 2);
  CHECK(rig.all<group_out::Join>().size() == 3);
}

TEST_CASE("shard group: the time to load covers the meeting, and who is missing is named") {
  Rig rig;
  rig.form(10);
  rig.listens(0, 10, 1);
  CHECK(rig.machine.deadline() == rig.now + kLoadTimeout);
  rig.now += kLoadTimeout;
  rig.step(group_in::Tick{});
  CHECK(rig.machine.reason() ==
        "loading took too long: the process of rank 1 on node n2 has not said where it listens");
  CHECK(rig.all<group_out::Kill>().size() == 1);
  CHECK(rig.all<group_out::Abort>().size() == 3);
}

TEST_CASE("shard group: what befalls a rank of another node is told with its node") {
  Rig rig;
  rig.form(10);
  for (int32_t rank : {0, 1, 2}) rig.listens(rank, 10u + static_cast<uint64_t>(rank), 1);
  for (int32_t rank : {0, 1, 2})
    rig.step(group_in::Loaded{
        Incarnation(10u + static_cast<uint64_t>(rank)),
        {.group = GroupId(3), .generation = Generation(1), .rank = rank, .ok = true}});
  REQUIRE(rig.machine.state() == GroupState::ready);
  rig.step(group_in::RankSuspect{1, Incarnation(11), true});
  CHECK(rig.machine.reason() == "the process of rank 1 on node n2 is silent");
  rig.step(group_in::RankLost{1, Incarnation(11), "signal 9 (SIGKILL)"});
  CHECK(rig.machine.reason() == "the process of rank 1 on node n2 ended: signal 9 (SIGKILL)");
}

}  // namespace shard_group_meeting_test
