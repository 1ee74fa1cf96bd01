#include "cluster/remote_ranks.h"

#include <doctest/doctest.h>

using namespace troupe;

namespace remote_ranks_test {
namespace {

RemoteRanks remote() { return {GroupId(7), "n1", {"n1", "n2", "n2", "n3"}}; }

group_out::Load load(int32_t rank, uint64_t process, uint32_t generation) {
  return {rank, Incarnation(process), Generation(generation)};
}
LoadOrder order(uint32_t generation) {
  LoadOrder o;
  o.group = GroupId(7);
  o.generation = Generation(generation);
  o.model = "m";
  return o;
}
RanksReport report(std::vector<RankState> ranks, uint32_t over = 0) {
  return {GroupId(7), Generation(over), std::move(ranks)};
}
RankState up(int32_t rank, uint64_t process) {
  return {.rank = rank, .process = Incarnation(process)};
}
RankState down(int32_t rank, const std::string& why) { return {.rank = rank, .why = why}; }

template <class Input>
const Input& only(const std::vector<GroupInput>& inputs) {
  REQUIRE(inputs.size() == 1);
  REQUIRE(std::holds_alternative<Input>(inputs[0]));
  return std::get<Input>(inputs[0]);
}

}  // namespace

TEST_CASE("remote ranks: which ranks other nodes run") {
  const RemoteRanks r = remote();
  CHECK(!r.has(0));
  CHECK(r.has(1));
  CHECK(r.has(3));
  CHECK(!r.has(4));
  CHECK(r.runs("n2"));
  CHECK(!r.runs("n1"));
}

TEST_CASE("remote ranks: a node gets one order with all its ranks, and its end") {
  RemoteRanks r = remote();
  for (int32_t rank : {1, 2, 3}) r.load(load(rank, 10u + static_cast<uint64_t>(rank), 4), order(4));
  auto orders = r.take_orders();
  REQUIRE(orders.size() == 2);
  CHECK(orders[0].first == "n2");
  CHECK(orders[0].second.load.generation == Generation(4));
  CHECK(orders[0].second.load.model == "m");
  CHECK(orders[0].second.ranks ==
        std::vector<RanksOrder::Rank>{{1, Incarnation(11)}, {2, Incarnation(12)}});
  CHECK(!orders[0].second.over);
  CHECK(orders[1].first == "n3");
  CHECK(orders[1].second.ranks == std::vector<RanksOrder::Rank>{{3, Incarnation(13)}});
  CHECK(r.take_orders().empty());
  r.end(1);
  r.end(2);
  orders = r.take_orders();
  REQUIRE(orders.size() == 1);
  CHECK(orders[0].second.over);
  CHECK(orders[0].second.load.generation == Generation(4));
  r.load(load(1, 21, 5), order(5));
  orders = r.take_orders();
  REQUIRE(orders.size() == 1);
  CHECK(!orders[0].second.over);
  CHECK(orders[0].second.ranks == std::vector<RanksOrder::Rank>{{1, Incarnation(21)}});
}

TEST_CASE("remote ranks: a node that is linked again is told once more what holds") {
  RemoteRanks r = remote();
  r.joined("n2");
  CHECK(r.take_orders().empty());  // it was told nothing yet
  r.load(load(1, 11, 4), order(4));
  const auto first = r.take_orders();
  r.joined("n3");
  CHECK(r.take_orders().empty());
  r.joined("n2");
  CHECK(r.take_orders() == first);
}

TEST_CASE("remote ranks: reports become what ShardGroup knows of processes, changes only") {
  RemoteRanks r = remote();
  CHECK(only<group_in::RankAwaits>(r.reported("n2", report({down(1, "not yet")}))).what ==
        "rank 1 on n2: not yet");
  CHECK(r.reported("n2", report({down(1, "not yet")})).empty());
  CHECK(only<group_in::RankUp>(r.reported("n2", report({up(1, 11)}))).incarnation ==
        Incarnation(11));
  CHECK(r.reported("n2", report({up(1, 11)})).empty());
  RankState silent = up(1, 11);
  silent.suspect = true;
  CHECK(only<group_in::RankSuspect>(r.reported("n2", report({silent}))).suspect);
  CHECK(r.reported("n2", report({silent})).empty());
  const auto replaced = r.reported("n2", report({up(1, 12)}));
  REQUIRE(replaced.size() == 2);
  CHECK(std::get<group_in::RankLost>(replaced[0]).incarnation == Incarnation(11));
  CHECK(std::get<group_in::RankLost>(replaced[0]).why == "its process was replaced");
  CHECK(std::get<group_in::RankUp>(replaced[1]).incarnation == Incarnation(12));
  const auto lost = r.reported("n2", report({down(1, "signal 9")}));
  CHECK(only<group_in::RankLost>(lost).why == "signal 9");
}

TEST_CASE("remote ranks: what a rank answered reaches ShardGroup with its process") {
  RemoteRanks r = remote();
  RankState state = up(3, 13);
  state.loaded = LoadReport{
      .group = GroupId(7), .generation = Generation(4), .rank = 3, .ok = true, .context = 64};
  state.fault = StepFault{GroupId(7), Generation(4), {ErrorCode::internal, "diverged", {}}};
  const auto inputs = r.reported("n3", report({state}));
  REQUIRE(inputs.size() == 3);
  CHECK(std::get<group_in::Loaded>(inputs[1]).incarnation == Incarnation(13));
  CHECK(std::get<group_in::Loaded>(inputs[1]).report.context == 64);
  CHECK(std::get<group_in::Fault>(inputs[2]).fault.error.message == "diverged");
}

TEST_CASE("remote ranks: a process that took no part in what is over may be told anew") {
  RemoteRanks r = remote();
  r.reported("n2", report({up(1, 11)}));
  r.load(load(1, 11, 4), order(4));
  r.end(1);
  CHECK(r.reported("n2", report({up(1, 11)})).empty());  // the node has yet to hear of it
  const auto spared = r.reported("n2", report({up(1, 11)}, 4));
  REQUIRE(spared.size() == 2);
  CHECK(std::get<group_in::RankLost>(spared[0]).incarnation == Incarnation(11));
  CHECK(std::get<group_in::RankUp>(spared[1]).incarnation == Incarnation(11));
  CHECK(r.reported("n2", report({up(1, 11)}, 4)).empty());
}

TEST_CASE("remote ranks: a report of another group, rank or node means nothing") {
  RemoteRanks r = remote();
  RanksReport foreign = report({up(1, 11)});
  foreign.group = GroupId(8);
  CHECK(r.reported("n2", foreign).empty());
  CHECK(r.reported("n3", report({up(1, 11)})).empty());
  CHECK(r.reported("n2", report({up(0, 11)})).empty());
  CHECK(r.reported("n9", report({up(9, 11)})).empty());
}

TEST_CASE("remote ranks: with its node a rank is lost, and the node's next life is told nothing") {
  RemoteRanks r = remote();
  r.reported("n2", report({up(1, 11), up(2, 12)}));
  r.load(load(1, 11, 4), order(4));
  r.load(load(2, 12, 4), order(4));
  r.take_orders();
  const auto lost = r.gone("n2", "it was found dead");
  REQUIRE(lost.size() == 2);
  CHECK(std::get<group_in::RankLost>(lost[0]).rank == 1);
  CHECK(std::get<group_in::RankLost>(lost[0]).incarnation == Incarnation(11));
  CHECK(std::get<group_in::RankLost>(lost[1]).why == "it was found dead");
  CHECK(r.gone("n2", "again").empty());
  r.end(2);  // the loss of rank 1 ends the generation of rank 2, which is on nobody's node
  r.joined("n2");
  CHECK(r.take_orders().empty());
  CHECK(only<group_in::RankUp>(r.reported("n2", report({up(1, 11)}))).rank == 1);
}

TEST_CASE("remote ranks: where all listen joins the order that holds, and is told again with it") {
  RemoteRanks r = remote();
  for (int32_t rank : {1, 2, 3}) r.load(load(rank, 10u + static_cast<uint64_t>(rank), 4), order(4));
  const auto without = r.take_orders();
  const RankJoin join{GroupId(7), Generation(4), {{"a", 1}, {"b", 2}, {"b", 3}, {"c", 4}}, {9}};
  for (int32_t rank : {1, 2, 3}) r.join(rank, join);
  auto orders = r.take_orders();
  REQUIRE(orders.size() == 2);
  for (size_t i : {0u, 1u}) {
    CHECK(!without[i].second.join);
    REQUIRE(orders[i].second.join.has_value());
    CHECK(*orders[i].second.join == join);
    CHECK(orders[i].second.ranks == without[i].second.ranks);
  }
  CHECK(r.take_orders().empty());
  r.joined("n2");
  CHECK(r.take_orders() == decltype(orders){orders[0]});
  SUBCASE("a former generation's place is of no use") {
    RankJoin old = join;
    old.generation = Generation(3);
    r.join(1, old);
    CHECK(r.take_orders().empty());
  }
  SUBCASE("the next order has none yet") {
    r.load(load(1, 21, 5), order(5));
    CHECK(!r.take_orders().at(0).second.join);
  }
  SUBCASE("a node that is gone is told of none") {
    r.gone("n2", "it was found dead");
    r.join(1, join);
    r.joined("n2");
    CHECK(r.take_orders().empty());
  }
}

TEST_CASE("remote ranks: what a rank said before is no news, and foreign words are counted") {
  RemoteRanks r = remote();
  RankState state = up(3, 13);
  state.listening = RankListening{GroupId(7), Generation(4), 3, {"c", 4}};
  const auto first = r.reported("n3", report({state}));
  REQUIRE(first.size() == 2);
  CHECK(std::get<group_in::Listening>(first[1]).incarnation == Incarnation(13));
  CHECK(std::get<group_in::Listening>(first[1]).note.address == HostPort{"c", 4});
  CHECK(r.reported("n3", report({state})).empty());
  state.loaded =
      LoadReport{.group = GroupId(7), .generation = Generation(4), .rank = 3, .ok = true};
  CHECK(only<group_in::Loaded>(r.reported("n3", report({state}))).incarnation == Incarnation(13));
  CHECK(r.reported("n3", report({state})).empty());
  state.fault = StepFault{GroupId(7), Generation(4), {ErrorCode::internal, "diverged", {}}};
  CHECK(only<group_in::Fault>(r.reported("n3", report({state}))).incarnation == Incarnation(13));
  CHECK(r.reported("n3", report({state})).empty());
  CHECK(r.dropped() == 0);
  CHECK(r.reported("n2", report({state})).empty());
  CHECK(r.dropped() == 1);
  // The same words of another process are.
  state.process = Incarnation(14);
  CHECK(r.reported("n3", report({state})).size() == 5);
}

}  // namespace remote_ranks_test
