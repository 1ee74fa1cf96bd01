#include "cluster/shard_group.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/support/all_of_kind.h"

using namespace troupe;

namespace shard_group_test {
namespace {

struct Rig {
  explicit Rig(int32_t ranks = 1, double scale = 1) : machine(GroupId(3), ranks, scale) {}
  ShardGroup machine;
  std::vector<GroupEffect> effects;  ///< of the last step
  Time now{};

  void step(const GroupInput& input) {
    effects.clear();
    machine.step(now, input, effects);
    machine.check();
  }
  void wait(Duration d) {
    now += d;
    step(group_in::Tick{});
  }
  template <class Effect>
  std::vector<Effect> all() const {
    return test::all_of_kind<Effect>(effects);
  }
  void up(int32_t rank, uint64_t i) { step(group_in::RankUp{rank, Incarnation(i)}); }
  void lose(int32_t rank, uint64_t i, const std::string& why = "exit status 70") {
    step(group_in::RankLost{rank, Incarnation(i), why});
  }
  LoadReport report(int32_t rank) const {
    LoadReport r;
    r.group = GroupId(3);
    r.rank = rank;
    r.generation = machine.generation();
    r.ok = true;
    r.context = 100 + rank;
    return r;
  }
  void loaded(int32_t rank, uint64_t i) { step(group_in::Loaded{Incarnation(i), report(rank)}); }
  void suspect(int32_t rank, uint64_t i, bool is) {
    step(group_in::RankSuspect{rank, Incarnation(i), is});
  }
  StepFault fault(Generation generation) const {
    return {GroupId(3), generation, {ErrorCode::deadline_exceeded, "the step took too long", {}}};
  }
  bool is(GroupState state, uint32_t generation, const std::string& reason) const {
    CHECK(name_of(machine.state()) == name_of(state));
    CHECK(machine.generation().value == generation);
    CHECK(machine.reason() == reason);
    return machine.state() == state;
  }
};

}  // namespace

TEST_CASE("shard group: it loads under generation 1 when its rank is up and is ready when loaded") {
  Rig rig;
  rig.is(GroupState::starting, 0, "the shard process has not started yet");
  rig.up(0, 7);
  REQUIRE(rig.all<group_out::Load>().size() == 1);
  CHECK(rig.all<group_out::Load>()[0].incarnation == Incarnation(7));
  CHECK(rig.all<group_out::Load>()[0].generation == Generation(1));
  rig.is(GroupState::starting, 1, "the model is loading");
  rig.loaded(0, 7);
  CHECK(rig.all<group_out::Announce>().size() == 1);
  rig.is(GroupState::ready, 1, "");
  CHECK(rig.machine.head() == Incarnation(7));
  CHECK(rig.machine.loaded().context == 100);
  CHECK(!rig.machine.deadline());
}

TEST_CASE("shard group: a rank that is announced twice is ordered to load once") {
  Rig rig;
  rig.up(0, 7);
  rig.up(0, 7);
  CHECK(rig.effects.empty());
  rig.loaded(0, 7);
  rig.up(0, 7);
  CHECK(rig.effects.empty());
  rig.is(GroupState::ready, 1, "");
}

TEST_CASE("shard group: a generation starts with every rank or not at all") {
  Rig rig(3);
  rig.up(1, 11);
  rig.up(0, 10);
  CHECK(rig.all<group_out::Load>().empty());
  CHECK(rig.machine.generation() == Generation(0));
  rig.up(2, 12);
  CHECK(rig.all<group_out::Load>().size() == 3);
  rig.loaded(0, 10);
  rig.loaded(2, 12);
  rig.is(GroupState::starting, 1, "the model is loading");
  rig.loaded(1, 11);
  rig.is(GroupState::ready, 1, "");
  CHECK(rig.machine.loaded().context == 100);  // rank 0's word
}

TEST_CASE("shard group: the death of one rank ends the generation of all") {
  Rig rig(2);
  rig.up(0, 10);
  rig.up(1, 11);
  rig.loaded(0, 10);
  rig.loaded(1, 11);
  rig.lose(1, 11, "signal 9 (SIGKILL)");
  REQUIRE(rig.all<group_out::Abort>().size() == 1);
  CHECK(rig.all<group_out::Abort>()[0].rank == 0);
  CHECK(rig.all<group_out::Abort>()[0].generation == Generation(1));
  rig.is(GroupState::starting, 1, "the process of rank 1 ended: signal 9 (SIGKILL)");
  rig.up(1, 21);
  CHECK(rig.all<group_out::Load>().empty());  // rank 0 still holds generation 1
  rig.lose(0, 10);
  CHECK(rig.machine.reason() == "the process of rank 1 ended: signal 9 (SIGKILL)");
  rig.up(0, 20);
  REQUIRE(rig.all<group_out::Load>().size() == 2);
  CHECK(rig.all<group_out::Load>()[1].generation == Generation(2));
  rig.loaded(0, 20);
  rig.loaded(1, 21);
  rig.is(GroupState::ready, 2, "");
}

TEST_CASE("shard group: news of former incarnations and generations changes nothing") {
  Rig rig;
  rig.up(0, 7);
  rig.loaded(0, 7);
  rig.lose(0, 7);
  rig.up(0, 8);
  rig.is(GroupState::starting, 2, "the model is loading");
  LoadReport old = rig.report(0);
  SUBCASE("a load report of the old process") { rig.loaded(0, 7); }
  SUBCASE("a load report of the old generation") {
    old.generation = Generation(1);
    rig.step(group_in::Loaded{Incarnation(8), old});
  }
  SUBCASE("a failed load of the old generation") {
    old.generation = Generation(1);
    old.ok = false;
    rig.step(group_in::Loaded{Incarnation(8), old});
  }
  SUBCASE("a load report of a rank that does not exist") {
    old.rank = 1;
    rig.step(group_in::Loaded{Incarnation(8), old});
    old.rank = -1;
    rig.step(group_in::Loaded{Incarnation(8), old});
  }
  SUBCASE("the loss of the old process") { rig.lose(0, 7); }
  SUBCASE("a suspicion against the old process") { rig.suspect(0, 7, true); }
  SUBCASE("a fault of the old process") {
    rig.step(group_in::Fault{Incarnation(7), rig.fault(Generation(2))});
  }
  SUBCASE("a fault of the old generation") {
    rig.step(group_in::Fault{Incarnation(8), rig.fault(Generation(1))});
  }
  CHECK(rig.effects.empty());
  rig.is(GroupState::starting, 2, "the model is loading");
  rig.loaded(0, 8);
  rig.is(GroupState::ready, 2, "");
}

TEST_CASE("shard group: a failed load is told once and stays the reason until the next try") {
  Rig rig;
  rig.up(0, 7);
  LoadReport failed = rig.report(0);
  failed.ok = false;
  failed.error = {ErrorCode::not_found, "no model at x.gguf", "source"};
  rig.step(group_in::Loaded{Incarnation(7), failed});
  REQUIRE(rig.all<group_out::LoadFailed>().size() == 1);
  CHECK(rig.all<group_out::LoadFailed>()[0].error == failed.error);
  CHECK(rig.all<group_out::Abort>().size() == 1);
  rig.is(GroupState::starting, 1, "loading failed: no model at x.gguf");
  rig.step(group_in::Loaded{Incarnation(7), failed});
  CHECK(rig.effects.empty());
  rig.lose(0, 7);
  rig.is(GroupState::starting, 1, "loading failed: no model at x.gguf");
  rig.up(0, 8);
  rig.is(GroupState::starting, 2, "the model is loading");
}

TEST_CASE("shard group: a step fault ends the generation, and who does not end is killed") {
  Rig rig(1, 2);
  rig.up(0, 7);
  rig.loaded(0, 7);
  rig.step(group_in::Fault{Incarnation(7), rig.fault(Generation(1))});
  CHECK(rig.all<group_out::Abort>().size() == 1);
  rig.is(GroupState::starting, 1, "a step failed: the step took too long");
  rig.step(group_in::Fault{Incarnation(7), rig.fault(Generation(1))});
  CHECK(rig.effects.empty());
  CHECK(rig.machine.deadline() == rig.now + 4s);  // kAbortDeadline, stretched
  rig.wait(4s - 1ns);
  CHECK(rig.all<group_out::Kill>().empty());
  rig.wait(1ns);
  REQUIRE(rig.all<group_out::Kill>().size() == 1);
  CHECK(rig.all<group_out::Kill>()[0].incarnation == Incarnation(7));
  rig.wait(4s);
  CHECK(rig.all<group_out::Kill>().size() == 1);  // it is still there: again
  rig.lose(0, 7);
  CHECK(!rig.machine.deadline());
  rig.is(GroupState::starting, 1, "a step failed: the step took too long");
}

TEST_CASE("shard group: a load that takes too long is killed") {
  Rig rig(2);
  rig.up(0, 10);
  rig.up(1, 11);
  rig.loaded(0, 10);
  CHECK(rig.machine.deadline() == rig.now + 120s);
  rig.wait(120s);
  REQUIRE(rig.all<group_out::Kill>().size() == 1);
  CHECK(rig.all<group_out::Kill>()[0].rank == 1);
  CHECK(rig.all<group_out::Abort>().size() == 2);
  rig.is(GroupState::starting, 1, "loading took too long");
  rig.loaded(1, 11);
  CHECK(rig.effects.empty());  // too late
}

TEST_CASE("shard group: a silent rank makes it suspect, its return makes it ready again") {
  Rig rig(2);
  rig.up(0, 10);
  rig.up(1, 11);
  rig.suspect(1, 11, true);
  rig.loaded(0, 10);
  rig.loaded(1, 11);
  rig.is(GroupState::suspect, 1, "the process of rank 1 is silent");
  rig.suspect(0, 10, true);
  rig.is(GroupState::suspect, 1, "the process of rank 0 is silent");
  CHECK(rig.all<group_out::Announce>().size() == 1);
  rig.suspect(1, 11, false);
  CHECK(rig.effects.empty());  // the other one is silent yet
  rig.suspect(0, 10, false);
  CHECK(rig.all<group_out::Announce>().size() == 1);
  rig.is(GroupState::ready, 1, "");
}

TEST_CASE("shard group: a process that takes another's place ends the generation first") {
  Rig rig;
  rig.up(0, 7);
  rig.loaded(0, 7);
  rig.up(0, 8);
  CHECK(rig.all<group_out::Abort>().size() == 1);
  REQUIRE(rig.all<group_out::Load>().size() == 1);
  CHECK(rig.all<group_out::Load>()[0].incarnation == Incarnation(8));
  rig.is(GroupState::starting, 2, "the model is loading");
}

TEST_CASE("shard group: a draining group serves until it loses a rank and never loads again") {
  Rig rig;
  rig.up(0, 7);
  SUBCASE("loaded") {
    rig.loaded(0, 7);
    rig.step(group_in::Drain{});
    rig.is(GroupState::draining, 1, "draining");
    rig.step(group_in::Drain{});
    CHECK(rig.effects.empty());
    rig.suspect(0, 7, true);
    rig.is(GroupState::draining, 1, "draining");
    rig.lose(0, 7);
    rig.is(GroupState::stopped, 1, "the shard process ended: exit status 70");
  }
  SUBCASE("loading") {
    rig.step(group_in::Drain{});
    CHECK(rig.all<group_out::Abort>().size() == 1);
    rig.is(GroupState::stopped, 1, "draining");
    rig.loaded(0, 7);
    rig.lose(0, 7);
    rig.is(GroupState::stopped, 1, "draining");
  }
  const std::string reason = rig.machine.reason();
  rig.up(0, 8);
  CHECK(rig.all<group_out::Load>().empty());
  rig.is(GroupState::stopped, 1, reason);
}

TEST_CASE("shard group: what a rank's process waits for is the group's reason until it is there") {
  Rig rig(2);
  rig.step(group_in::RankAwaits{1, "its file comes from n1: 5 % of 80.0 MB"});
  CHECK(rig.is(GroupState::starting, 0, "its file comes from n1: 5 % of 80.0 MB"));
  CHECK(rig.all<group_out::Announce>().size() == 1);
  rig.up(0, 10);
  rig.up(1, 11);
  CHECK(rig.is(GroupState::starting, 1, "the model is loading"));
  // Told late: the process is there.
  rig.step(group_in::RankAwaits{1, "its file comes from n1: 9 % of 80.0 MB"});
  CHECK(rig.is(GroupState::starting, 1, "the model is loading"));
  CHECK(rig.effects.empty());
  rig.loaded(0, 10);
  rig.loaded(1, 11);
  // A rank that is lost may have to wait again, and a group that drains waits for nothing.
  rig.lose(1, 11);
  rig.step(group_in::RankAwaits{1, "its file is missing"});
  CHECK(rig.is(GroupState::starting, 1, "its file is missing"));
  rig.step(group_in::Drain{});
  rig.step(group_in::RankAwaits{1, "its file is missing"});
  CHECK(rig.is(GroupState::stopped, 1, "draining"));
}

}  // namespace shard_group_test
