// What only groups of several ranks need: a data plane a generation, and ranks that agree.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "cluster/shard_group.h"
#include "tests/support/all_of_kind.h"

using namespace troupe;

namespace shard_group_ranks_test {
namespace {

struct Rig {
  explicit Rig(int32_t ranks = 2) : machine(GroupId(3), ranks, 1) {}
  ShardGroup machine;
  std::vector<GroupEffect> effects;  ///< of the last step

  void step(const GroupInput& input) {
    effects.clear();
    machine.step({}, input, effects);
    machine.check();
  }
  template <class Effect>
  std::vector<Effect> all() const {
    return test::all_of_kind<Effect>(effects);
  }
  void up(int32_t rank, uint64_t i) { step(group_in::RankUp{rank, Incarnation(i)}); }
  LoadReport report(int32_t rank) const {
    LoadReport r;
    r.group = GroupId(3);
    r.rank = rank;
    r.generation = machine.generation();
    r.ok = true;
    r.weights_id[0] = 5;
    r.numerics_id[0] = 6;
    return r;
  }
  void loaded(const LoadReport& r, uint64_t i) { step(group_in::Loaded{Incarnation(i), r}); }
  /// Both ranks are there and told to load.
  void form(uint64_t first) {
    up(0, first);
    up(1, first + 1);
    REQUIRE(all<group_out::Load>().size() == 2);
  }
  void serve(uint64_t first) {
    form(first);
    loaded(report(0), first);
    loaded(report(1), first + 1);
    REQUIRE(machine.state() == GroupState::ready);
  }
  bool disbanded(uint32_t generation) const {
    const auto ends = all<group_out::Disband>();
    return ends.size() == 1 && ends[0].generation == Generation(generation);
  }
};

}  // namespace

TEST_CASE("shard group: several ranks get a data plane before they are told to load") {
  Rig rig;
  rig.up(1, 11);
  CHECK(rig.all<group_out::Form>().empty());
  rig.up(0, 10);
  REQUIRE(std::holds_alternative<group_out::Form>(rig.effects.front()));
  const auto form = std::get<group_out::Form>(rig.effects.front());
  CHECK(form.generation == Generation(1));
  CHECK(form.ranks == std::vector{Incarnation(10), Incarnation(11)});
}

TEST_CASE("shard group: one rank needs no data plane") {
  Rig rig(1);
  rig.up(0, 10);
  CHECK(rig.all<group_out::Load>().size() == 1);
  CHECK(rig.all<group_out::Form>().empty());
  rig.step(group_in::RankLost{0, Incarnation(10), "gone"});
  CHECK(rig.all<group_out::Disband>().empty());
}

TEST_CASE("shard group: whatever ends a generation lets its ranks go first, once") {
  Rig rig;
  rig.serve(10);
  SUBCASE("a rank that dies") { rig.step(group_in::RankLost{1, Incarnation(11), "signal 9"}); }
  SUBCASE("a step that fails") {
    rig.step(group_in::Fault{Incarnation(11),
                             {GroupId(3), Generation(1), {ErrorCode::internal, "diverged", {}}}});
  }
  SUBCASE("a process in another's place") { rig.up(0, 20); }
  SUBCASE("the end of a drain") {
    rig.step(group_in::Drain{});
    CHECK(rig.all<group_out::Disband>().empty());  // it still serves
    rig.step(group_in::RankLost{0, Incarnation(10), "exit status 0"});
  }
  CHECK(rig.disbanded(1));
  CHECK(std::holds_alternative<group_out::Disband>(rig.effects.front()));
  rig.step(group_in::Tick{});
  CHECK(rig.all<group_out::Disband>().empty());
}

TEST_CASE("shard group: the next generation has a data plane of its own") {
  Rig rig;
  rig.serve(10);
  rig.step(group_in::RankLost{1, Incarnation(11), "signal 9"});
  rig.step(group_in::RankLost{0, Incarnation(10), "exit status 70"});
  CHECK(rig.all<group_out::Disband>().empty());
  rig.form(20);
  REQUIRE(rig.all<group_out::Form>().size() == 1);
  CHECK(rig.all<group_out::Form>()[0].generation == Generation(2));
  CHECK(rig.all<group_out::Form>()[0].ranks == std::vector{Incarnation(20), Incarnation(21)});
}

TEST_CASE("shard group: a data plane that can't be had fails the load of its generation only") {
  Rig rig;
  rig.form(10);
  const Error error{ErrorCode::unavailable, "no shared memory is left", {}};
  rig.step(group_in::Unformed{Generation(0), error});
  CHECK(rig.effects.empty());
  rig.step(group_in::Unformed{Generation(1), error});
  REQUIRE(rig.all<group_out::LoadFailed>().size() == 1);
  CHECK(rig.all<group_out::LoadFailed>()[0].error == error);
  CHECK(rig.all<group_out::Abort>().size() == 2);
  CHECK(rig.disbanded(1));
  CHECK(rig.machine.reason() == "loading failed: no shared memory is left");
  rig.step(group_in::Unformed{Generation(1), error});
  CHECK(rig.effects.empty());
}

TEST_CASE("shard group: ranks that loaded different things never serve") {
  Rig rig;
  rig.form(10);
  rig.loaded(rig.report(1), 11);
  LoadReport other = rig.report(0);
  std::string expected;
  SUBCASE("weights") {
    other.weights_id[0] = 9;
    expected =
        "rank 0 loaded other weights than rank 1; give every node of the group the same model file";
  }
  SUBCASE("numerics") {
    other.numerics_id[0] = 9;
    expected =
        "rank 0 computes with other numerics than rank 1; start every node of the group from one "
        "build";
  }
  rig.loaded(other, 10);
  REQUIRE(rig.all<group_out::LoadFailed>().size() == 1);
  CHECK(rig.all<group_out::LoadFailed>()[0].error.message == expected);
  CHECK(rig.all<group_out::Abort>().size() == 2);
  CHECK(rig.disbanded(1));
  CHECK(rig.machine.state() == GroupState::starting);
}

}  // namespace shard_group_ranks_test
