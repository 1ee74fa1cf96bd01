#include "cluster/rank_proxy.h"

#include <doctest/doctest.h>

#include "tests/support/all_of_kind.h"

using namespace troupe;

namespace rank_proxy_test {
namespace {

/// Ranks 2 and 3 of group 7 run here; the head is elsewhere.
struct Rig {
  explicit Rig(std::vector<int32_t> ranks = {2, 3}) : machine(GroupId(7), std::move(ranks), 1) {}
  RankProxy machine;
  std::vector<ProxyEffect> effects;  ///< of the last step
  Time now{};
  Generation over;  ///< of the last report that told() saw

  void step(const ProxyInput& input) {
    effects.clear();
    machine.step(now, input, effects);
    machine.check();
  }
  template <class Effect>
  std::vector<Effect> all() const {
    return test::all_of_kind<Effect>(effects);
  }
  void up(int32_t rank, uint64_t process) { step(group_in::RankUp{rank, Incarnation(process)}); }
  void lose(int32_t rank, uint64_t process, const std::string& why = "signal 9") {
    step(group_in::RankLost{rank, Incarnation(process), why});
  }
  static RanksOrder order(uint32_t generation, uint64_t second = 2, uint64_t third = 3) {
    RanksOrder o;
    o.load.group = GroupId(7);
    o.load.generation = Generation(generation);
    o.load.model = "m";
    o.ranks = {{2, Incarnation(second)}, {3, Incarnation(third)}};
    return o;
  }
  void ordered(const RanksOrder& o) { step(proxy_in::Ordered{o}); }
  LoadReport loaded(int32_t rank, uint32_t generation) const {
    LoadReport r;
    r.group = GroupId(7);
    r.generation = Generation(generation);
    r.rank = rank;
    r.ok = true;
    return r;
  }
  static RankListening place(int32_t rank, uint32_t generation) {
    return {GroupId(7), Generation(generation), rank, {"b", static_cast<uint16_t>(100 + rank)}};
  }
  void listens(int32_t rank, uint64_t process, uint32_t generation) {
    step(group_in::Listening{Incarnation(process), place(rank, generation)});
  }
  static RanksOrder meeting(uint32_t generation) {
    RanksOrder o = order(generation);
    o.join = RankJoin{GroupId(7), Generation(generation), {{"a", 1}, {"a", 2}}, {5}};
    for (int32_t rank : {2, 3}) o.join->addresses.push_back(place(rank, generation).address);
    return o;
  }
  /// Linked to the head, both processes up, told to load generation `g`.
  void run(uint32_t g) {
    step(proxy_in::HeadJoined{});
    up(2, 2);
    up(3, 3);
    ordered(order(g));
    REQUIRE(all<proxy_out::Load>().size() == 2);
  }
  /// The only report of the last step, by rank.
  RankState told(int32_t rank) {
    const auto reports = all<proxy_out::Report>();
    REQUIRE(reports.size() == 1);
    CHECK(reports[0].report.group == GroupId(7));
    over = reports[0].report.over;
    for (const RankState& state : reports[0].report.ranks)
      if (state.rank == rank) return state;
    FAIL("the report lacks a rank");
    return {};
  }
};

}  // namespace

TEST_CASE("rank proxy: the head hears how every rank stands as soon as it can, and each change") {
  Rig rig;
  rig.up(2, 2);
  CHECK(rig.effects.empty());  // nobody to tell
  rig.step(proxy_in::HeadJoined{});
  CHECK(rig.told(2).process == Incarnation(2));
  CHECK(rig.told(3).process == Incarnation());
  CHECK(rig.told(3).why == "the shard process has not started yet");
  rig.up(3, 3);
  CHECK(rig.told(3).process == Incarnation(3));
  rig.up(3, 3);
  CHECK(rig.effects.empty());
  rig.step(group_in::RankSuspect{3, Incarnation(3), true});
  CHECK(rig.told(3).suspect);
  rig.lose(3, 3);
  CHECK(rig.told(3).why == "signal 9");
  rig.step(proxy_in::HeadJoined{});  // over another link: all of it once more
  CHECK(rig.told(2).process == Incarnation(2));
}

TEST_CASE("rank proxy: the head hears what a rank without a process waits for") {
  Rig rig;
  rig.step(proxy_in::HeadJoined{});
  rig.step(group_in::RankAwaits{3, "its file comes from n1: 5 % of 80.0 MB"});
  CHECK(rig.told(3).why == "its file comes from n1: 5 % of 80.0 MB");
  CHECK(rig.machine.view(3).unready == "its file comes from n1: 5 % of 80.0 MB");
  rig.up(3, 3);
  CHECK(rig.told(3).why.empty());
  rig.step(group_in::RankAwaits{3, "its file comes from n1: 9 % of 80.0 MB"});
  CHECK(rig.effects.empty());  // told late: the process is there
}

TEST_CASE("rank proxy: an order goes to both ranks with memory that they share, once") {
  Rig rig;
  rig.run(4);
  REQUIRE(std::holds_alternative<group_out::Form>(rig.effects.front()));
  const auto form = std::get<group_out::Form>(rig.effects.front());
  CHECK(form.generation == Generation(4));
  CHECK(form.ranks == std::vector{Incarnation(2), Incarnation(3)});
  const auto loads = rig.all<proxy_out::Load>();
  CHECK(loads[0].process == Incarnation(2));
  CHECK(loads[0].order.rank == 2);
  CHECK(loads[1].order.rank == 3);
  CHECK(loads[1].order.generation == Generation(4));
  CHECK(loads[1].order.model == "m");
  rig.ordered(Rig::order(4));
  CHECK(rig.effects.empty());
  rig.ordered(Rig::order(3));
  CHECK(rig.effects.empty());
}

TEST_CASE("rank proxy: a rank alone on its node needs no memory to share") {
  Rig rig({2});
  rig.step(proxy_in::HeadJoined{});
  rig.up(2, 2);
  RanksOrder order = Rig::order(1);
  order.ranks.pop_back();
  rig.ordered(order);
  CHECK(rig.all<proxy_out::Load>().size() == 1);
  CHECK(rig.all<group_out::Form>().empty());
  rig.lose(2, 2);
  CHECK(rig.all<group_out::Disband>().empty());
}

TEST_CASE("rank proxy: what a rank answers stands in every report from then on") {
  Rig rig;
  rig.run(4);
  const LoadReport loaded = rig.loaded(3, 4);
  rig.step(group_in::Loaded{Incarnation(3), loaded});
  CHECK(rig.told(3).loaded == loaded);
  CHECK(!rig.told(2).loaded);
  rig.step(group_in::Loaded{Incarnation(2), rig.loaded(2, 3)});
  CHECK(rig.effects.empty());  // of a former generation
  const StepFault fault{GroupId(7), Generation(4), {ErrorCode::internal, "diverged", {}}};
  rig.step(group_in::Fault{Incarnation(2), fault});
  CHECK(rig.told(2).fault == fault);
  CHECK(rig.told(3).loaded == loaded);
  rig.step(proxy_in::HeadJoined{});
  CHECK(rig.told(3).loaded == loaded);
}

TEST_CASE("rank proxy: a generation ends at once when it must, and the head sees nobody in it") {
  Rig rig;
  rig.run(4);
  std::string why;
  size_t aborts = 2;
  SUBCASE("the head says so") {
    RanksOrder over = Rig::order(4);
    over.over = true;
    rig.ordered(over);
    why = "the head ended the generation";
  }
  SUBCASE("the head goes on to another") {
    rig.ordered(Rig::order(6));
    CHECK(rig.all<proxy_out::Load>().empty());  // its processes are no fresh ones
    why = "the head began another generation";
  }
  SUBCASE("a rank of this node is lost") {
    rig.lose(2, 2);
    why = "another rank of its node ended";
    aborts = 1;
  }
  REQUIRE(std::holds_alternative<group_out::Disband>(rig.effects.front()));
  CHECK(std::get<group_out::Disband>(rig.effects.front()).generation == Generation(4));
  REQUIRE(rig.all<group_out::Abort>().size() == aborts);
  CHECK(rig.all<group_out::Abort>().back().incarnation == Incarnation(3));
  CHECK(rig.all<group_out::Abort>().back().generation == Generation(4));
  CHECK(rig.told(3).process == Incarnation());
  CHECK(rig.told(3).why == why);
}

TEST_CASE("rank proxy: without its head nothing runs, and the next one counts from 1 again") {
  Rig rig;
  rig.run(4);
  rig.step(proxy_in::HeadGone{});
  CHECK(rig.all<group_out::Disband>().size() == 1);
  CHECK(rig.all<group_out::Abort>().size() == 2);
  CHECK(rig.all<proxy_out::Report>().empty());
  rig.lose(2, 2);
  rig.lose(3, 3);
  CHECK(rig.effects.empty());
  rig.ordered(Rig::order(5));
  CHECK(rig.effects.empty());  // from nobody
  rig.step(proxy_in::HeadJoined{});
  rig.up(2, 12);
  rig.up(3, 13);
  rig.ordered(Rig::order(1, 12, 13));
  CHECK(rig.all<proxy_out::Load>().size() == 2);
}

TEST_CASE("rank proxy: an order for a process that is gone begins nothing") {
  Rig rig;
  rig.step(proxy_in::HeadJoined{});
  rig.up(2, 2);
  rig.up(3, 3);
  rig.lose(3, 3);
  rig.up(3, 33);
  rig.ordered(Rig::order(1));
  CHECK(rig.effects.empty());
  rig.ordered(Rig::order(2, 2, 33));  // once the head knows
  CHECK(rig.all<proxy_out::Load>().size() == 2);
}

TEST_CASE("rank proxy: an order that comes after its own end begins nothing") {
  Rig rig;
  rig.step(proxy_in::HeadJoined{});
  rig.up(2, 2);
  rig.up(3, 3);
  RanksOrder over = Rig::order(1);
  over.over = true;
  rig.ordered(over);
  CHECK(rig.told(2).process == Incarnation(2));  // it may be ordered to load the next one
  CHECK(rig.over == Generation(1));
  rig.ordered(Rig::order(1));
  CHECK(rig.all<proxy_out::Load>().empty());
  rig.ordered(Rig::order(2));
  CHECK(rig.all<proxy_out::Load>().size() == 2);
}

TEST_CASE("rank proxy: a rank that does not end in time is killed, again and again") {
  Rig rig;
  rig.run(4);
  rig.step(proxy_in::HeadGone{});
  CHECK(rig.machine.deadline() == rig.now + kAbortDeadline);
  rig.lose(2, 2);
  for (int round = 0; round < 2; ++round) {
    rig.now += kAbortDeadline - 1ns;
    rig.step(group_in::Tick{});
    CHECK(rig.effects.empty());
    rig.now += 1ns;
    rig.step(group_in::Tick{});
    REQUIRE(rig.all<group_out::Kill>().size() == 1);
    CHECK(rig.all<group_out::Kill>()[0].rank == 3);
    CHECK(rig.all<group_out::Kill>()[0].incarnation == Incarnation(3));
  }
  rig.lose(3, 3);
  CHECK(!rig.machine.deadline());
}

TEST_CASE("rank proxy: ranks that listen are told where the others are, once") {
  Rig rig;
  rig.run(4);
  rig.listens(2, 2, 4);
  CHECK(rig.told(2).listening == Rig::place(2, 4));
  CHECK(!rig.told(3).listening);
  rig.listens(2, 2, 4);
  CHECK(rig.effects.empty());
  rig.listens(3, 3, 4);
  CHECK(rig.told(3).listening == Rig::place(3, 4));
  rig.step(proxy_in::HeadJoined{});  // what the link lost is told again
  CHECK(rig.told(2).listening == Rig::place(2, 4));
  rig.ordered(Rig::meeting(4));
  const auto joins = rig.all<proxy_out::Join>();
  REQUIRE(joins.size() == 2);
  CHECK(rig.effects.size() == 2);
  for (size_t i : {0u, 1u}) {
    CHECK(joins[i].rank == static_cast<int32_t>(2 + i));
    CHECK(joins[i].process == Incarnation(2 + i));
    CHECK(joins[i].join == *Rig::meeting(4).join);
  }
  rig.ordered(Rig::meeting(4));
  CHECK(rig.effects.empty());
  CHECK(rig.machine.dropped() == 1);  // of the place that was told twice
}

TEST_CASE("rank proxy: a place of another generation or process means nothing and is counted") {
  Rig rig;
  rig.run(4);
  SUBCASE("another generation's") { rig.listens(2, 2, 3); }
  SUBCASE("another process's") { rig.listens(2, 22, 4); }
  SUBCASE("of one that was told to end") {
    rig.step(proxy_in::HeadGone{});
    rig.listens(2, 2, 4);
  }
  CHECK(rig.all<proxy_out::Report>().empty());
  CHECK(rig.machine.dropped() == 1);
}

TEST_CASE("rank proxy: a meeting reaches nobody that is not of it") {
  Rig rig;
  rig.run(4);
  rig.listens(2, 2, 4);
  SUBCASE("a rank that does not listen yet hears when it does") {
    rig.ordered(Rig::meeting(4));
    REQUIRE(rig.all<proxy_out::Join>().size() == 1);
    CHECK(rig.all<proxy_out::Join>()[0].rank == 2);
    rig.listens(3, 3, 4);
    rig.ordered(Rig::meeting(4));
    REQUIRE(rig.all<proxy_out::Join>().size() == 1);
    CHECK(rig.all<proxy_out::Join>()[0].rank == 3);
    return;
  }
  uint64_t dropped = 1;
  SUBCASE("of a former generation") { rig.ordered(Rig::meeting(3)); }
  SUBCASE("of two generations at once") {
    RanksOrder mixed = Rig::meeting(4);
    mixed.join->generation = Generation(3);
    rig.ordered(mixed);
  }
  SUBCASE("after the head is gone") {
    rig.step(proxy_in::HeadGone{});
    rig.ordered(Rig::meeting(4));
  }
  SUBCASE("after a rank of it was replaced") {
    rig.lose(3, 3);
    rig.up(3, 33);
    rig.ordered(Rig::meeting(4));
    dropped = 0;  // the head has yet to hear of it
  }
  SUBCASE("with its end") {
    RanksOrder over = Rig::meeting(4);
    over.over = true;
    rig.ordered(over);
    dropped = 0;
  }
  CHECK(rig.all<proxy_out::Join>().empty());
  CHECK(rig.machine.dropped() == dropped);
}

TEST_CASE("rank proxy: memory that can't be had is an answer to the order to load") {
  Rig rig;
  rig.run(4);
  const Error error{ErrorCode::unavailable, "no shared memory is left", {}};
  rig.step(group_in::Unformed{Generation(3), error});
  CHECK(rig.effects.empty());
  rig.step(group_in::Unformed{Generation(4), error});
  for (int32_t rank : {2, 3}) {
    const RankState told = rig.told(rank);
    REQUIRE(told.loaded.has_value());
    CHECK(!told.loaded->ok);
    CHECK(told.loaded->error == error);
    CHECK(told.loaded->generation == Generation(4));
    CHECK(told.loaded->rank == rank);
  }
  CHECK(rig.machine.view(2).unready == "loading failed: no shared memory is left");
}

TEST_CASE("rank proxy: a node that drains ends its ranks and has none for the head any more") {
  Rig rig;
  rig.run(4);
  rig.step(group_in::Drain{});
  CHECK(rig.all<group_out::Disband>().size() == 1);
  CHECK(rig.all<group_out::Abort>().size() == 2);
  CHECK(rig.told(2).process == Incarnation());
  CHECK(rig.told(3).why == "its node is draining");
  rig.step(group_in::Drain{});
  CHECK(rig.effects.empty());
  rig.lose(2, 2);
  rig.up(2, 22);
  CHECK(rig.effects.empty());  // the head is not told of anyone
  rig.lose(3, 3);
  rig.up(3, 33);
  rig.ordered(Rig::order(5, 22, 33));
  CHECK(rig.all<proxy_out::Load>().empty());
}

TEST_CASE("rank proxy: how a rank stands, in words") {
  Rig rig;
  const auto says = [&](const std::string& why, uint32_t generation) {
    CHECK(rig.machine.view(2).unready == why);
    CHECK(rig.machine.view(2).generation == Generation(generation));
  };
  says("the shard process has not started yet", 0);
  rig.up(2, 2);
  says("the head's node is not in the cluster", 0);
  rig.step(proxy_in::HeadJoined{});
  says("it waits for the other ranks of its group", 0);
  rig.up(3, 3);
  rig.ordered(Rig::order(4));
  says("the model is loading", 4);
  rig.step(group_in::Loaded{Incarnation(2), rig.loaded(2, 4)});
  says("", 4);
  rig.step(group_in::Fault{Incarnation(2),
                           {GroupId(7), Generation(4), {ErrorCode::internal, "diverged", {}}}});
  says("a step failed: diverged", 4);
  rig.step(proxy_in::HeadGone{});
  says("the head's node is gone", 4);
  rig.lose(2, 2);
  says("the head's node is gone", 0);
}

TEST_CASE("rank proxy: a rank that died too often is told as such until it is back") {
  Rig rig;
  rig.step(proxy_in::HeadJoined{});
  rig.up(2, 2);
  rig.up(3, 3);
  rig.lose(3, 3);
  CHECK(!rig.told(3).failed);
  rig.step(proxy_in::RankFailed{3, "it died 6 times; last: signal 9"});
  CHECK(rig.told(3).failed);
  CHECK(rig.told(3).why == "it died 6 times; last: signal 9");
  CHECK(!rig.told(2).failed);
  rig.up(3, 33);
  CHECK(!rig.told(3).failed);
  CHECK(rig.told(3).why.empty());
}

}  // namespace rank_proxy_test
