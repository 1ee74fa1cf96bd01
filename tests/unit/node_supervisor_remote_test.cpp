// A node that heads a group some of whose ranks run on another node.
#include "config/digest.h"
#include "tests/unit/hosts_rig.h"

using namespace troupe;
using test::HostsRig;
using test::listening;
using test::NodeRig;
using test::Words;

namespace node_supervisor_remote_test {
namespace {

const std::string &kFirst = NodeRig::kFirst, &kSecond = NodeRig::kSecond;

struct Rig : HostsRig {
  Rig() : HostsRig(test::head_config()) {}

  void report(RankState state, uint64_t process = 20, uint64_t link = 1) {
    from_peer("n2", process, link, RanksReport{GroupId(1), over, {std::move(state)}});
  }
  static RankState up(uint64_t process) { return {.rank = 2, .process = Incarnation(process)}; }
  static RankState listens(uint64_t process, uint32_t generation) {
    RankState state = up(process);
    state.listening = listening(2, generation);
    return state;
  }
  RankState loaded(uint64_t process, uint32_t generation) const {
    RankState state = listens(process, generation);
    state.loaded = loads(2, generation);
    return state;
  }
  /// All three are up and told to load generation 1: processes 101, 102 and 22.
  void form() {
    step(node_in::Start{});
    join_peer("n2", 20, 1);
    start_child(kFirst);
    start_child(kSecond);
    report(up(22));
  }
  void meet() {
    form();
    from(kFirst, listening(0, 1));
    from(kSecond, listening(1, 1));
    report(listens(22, 1));
  }
  void serve() {
    meet();
    from(kFirst, loads(0, 1));
    from(kSecond, loads(1, 1));
    report(loaded(22, 1));
    REQUIRE(group().state == GroupState::ready);
  }
  const GroupEndpoint& group() const { return machine.routing().groups.at(0); }
  Generation over;  ///< as n2 reports it
};

template <class M>
std::vector<M> joins(const NodeEffects& effects) {
  std::vector<M> found;
  for (const NodeEffect& effect : effects)
    if (auto* to = std::get_if<node_out::ToChild>(&effect))
      if (auto* join = std::get_if<M>(&to->message)) found.push_back(*join);
  return found;
}

}  // namespace

TEST_CASE("node supervisor: a group of two nodes loads when all of its ranks are there") {
  Rig rig;
  rig.form();
  CHECK(rig.said() == Words{"share g1 n1/shard/m.1.0 101 n1/shard/m.1.1 102",
                            "n1/shard/m.1.0 101: load g1 rank 0 threads 3 hosts 0 0 1",
                            "n1/shard/m.1.1 102: load g1 rank 1 threads 3 hosts 0 0 1",
                            "n2 20: order g1 2=22"});
  CHECK(rig.group().state == GroupState::starting);
  CHECK(rig.group().reason == "the model is loading");
}

TEST_CASE("node supervisor: its ranks meet once all of them listen, and serve once all loaded") {
  Rig rig;
  rig.form();
  rig.from(kFirst, listening(0, 1));
  CHECK(rig.said().empty());
  rig.report(Rig::listens(22, 1));
  CHECK(rig.said().empty());
  rig.from(kSecond, listening(1, 1));
  const std::string where = "join g1 10.0.0.0:7000 10.0.0.1:7001 10.0.0.2:7002";
  CHECK(rig.said() == Words{"n1/shard/m.1.0 101: " + where, "n1/shard/m.1.1 102: " + where,
                            "n2 20: order g1 2=22 join of 3"});
  rig.from(kFirst, rig.loads(0, 1));
  rig.from(kSecond, rig.loads(1, 1));
  CHECK(rig.group().state == GroupState::starting);
  rig.report(rig.loaded(22, 1));
  CHECK(rig.group().state == GroupState::ready);
  CHECK(rig.group().incarnation == Incarnation(101));
  CHECK(rig.machine.dropped() == 0);
}

TEST_CASE("node supervisor: the key of a meeting is the generation's alone, one for all ranks") {
  Rig rig;
  rig.meet();
  const auto first = joins<RankJoin>(rig.effects);
  REQUIRE(first.size() == 2);
  const std::array<std::byte, 8> named{std::byte(1), std::byte(0), std::byte(0), std::byte(0),
                                       std::byte(1), std::byte(0), std::byte(0), std::byte(0)};
  const std::vector<std::byte> secret(32, std::byte(7));
  CHECK(first[0].key == hmac_sha256(secret, named));
  CHECK(first[1] == first[0]);
  for (const auto& to : rig.all<node_out::ToPeer>())
    if (auto* order = std::get_if<RanksOrder>(&to.message)) CHECK(order->join == first[0]);
  rig.exit(kFirst);
  rig.exit(kSecond);
  rig.over = Generation(1);
  rig.report({.rank = 2, .why = "exit status 70"});
  rig.wait(kRespawnMax);
  rig.start_child(kFirst);
  rig.start_child(kSecond);
  rig.report(Rig::up(23));
  rig.from(kFirst, listening(0, 2));
  rig.from(kSecond, listening(1, 2));
  rig.report(Rig::listens(23, 2));
  const auto second = joins<RankJoin>(rig.effects);
  REQUIRE(second.size() == 2);
  CHECK(second[0].generation == Generation(2));
  CHECK(second[0].key != first[0].key);
}

TEST_CASE("node supervisor: words that come twice change nothing") {
  Rig rig;
  rig.meet();
  rig.report(Rig::listens(22, 1));
  CHECK(rig.said().empty());
  CHECK(rig.machine.dropped() == 0);  // a report is whole each time
  rig.from(kSecond, listening(1, 1));
  CHECK(rig.said().empty());
  CHECK(rig.machine.dropped() == 1);
  rig.from(kFirst, rig.loads(0, 1));
  rig.from(kSecond, rig.loads(1, 1));
  rig.report(rig.loaded(22, 1));
  rig.report(rig.loaded(22, 1));
  CHECK(rig.said().empty());
  CHECK(rig.group().state == GroupState::ready);
}

TEST_CASE("node supervisor: what is said in the wrong place is dropped and counted") {
  Rig rig;
  rig.form();
  rig.join_peer("n3", 30, 2);
  Message message;
  SUBCASE("ranks of another node") {
    message = RanksReport{GroupId(1), {}, {{.rank = 2, .process = Incarnation(33)}}};
  }
  SUBCASE("ranks of no group of this node") { message = RanksReport{GroupId(9), {}, {}}; }
  SUBCASE("an order to who lends no rank") {
    RanksOrder order;
    order.load.group = GroupId(1);
    message = order;
  }
  SUBCASE("what only a rank says") { message = listening(2, 1); }
  rig.from_peer("n3", 30, 2, message);
  CHECK(rig.said().empty());
  CHECK(rig.machine.dropped() == 1);
  rig.from(kFirst, listening(1, 1));  // for another rank
  CHECK(rig.machine.dropped() == 2);
}

TEST_CASE("node supervisor: a remote rank replaced before all met ends the generation") {
  Rig rig;
  rig.form();
  rig.from(kFirst, listening(0, 1));
  rig.report(Rig::up(33));
  CHECK(rig.said() ==
        Words{"unshare g1", "n1/shard/m.1.0 101: abort g1", "n1/shard/m.1.1 102: abort g1"});
  CHECK(rig.group().reason == "the process of rank 2 on node n2 ended: its process was replaced");
  rig.from(kSecond, listening(1, 1));
  CHECK(rig.said().empty());
}

TEST_CASE("node supervisor: a local rank that dies ends its generation on the other node too") {
  Rig rig;
  rig.serve();
  rig.exit(kSecond, "signal 9 (SIGKILL)");
  CHECK(rig.said() ==
        Words{"unshare g1", "n1/shard/m.1.0 101: abort g1", "n2 20: order g1 2=22 join of 3 over"});
  CHECK(rig.group().reason == "the process of rank 1 on node n1 ended: signal 9 (SIGKILL)");
}

TEST_CASE("node supervisor: a remote rank is as suspect as its node says, and its fault counts") {
  Rig rig;
  rig.serve();
  RankState state = rig.loaded(22, 1);
  state.suspect = true;
  rig.report(state);
  CHECK(rig.group().state == GroupState::suspect);
  CHECK(rig.group().reason == "the process of rank 2 on node n2 is silent");
  state.suspect = false;
  rig.report(state);
  CHECK(rig.group().state == GroupState::ready);
  state.fault = StepFault{GroupId(1), Generation(1), {ErrorCode::internal, "diverged", {}}};
  rig.report(state);
  CHECK(rig.group().reason == "a step failed: diverged");
  CHECK(rig.said().back() == "n2 20: order g1 2=22 join of 3 over");
}

TEST_CASE("node supervisor: with a node found dead go its ranks, and its next life is new") {
  Rig rig;
  rig.serve();
  rig.step(node_in::Judged{"n2", Incarnation(20), Verdict::dead});
  CHECK(rig.said() ==
        Words{"unshare g1", "n1/shard/m.1.0 101: abort g1", "n1/shard/m.1.1 102: abort g1"});
  CHECK(rig.group().state == GroupState::starting);
  CHECK(rig.group().reason ==
        "the process of rank 2 on node n2 ended: its node is gone (it was silent)");
  rig.exit(kFirst);
  rig.exit(kSecond);
  rig.wait(kPeerRedialMax);
  rig.join_peer("n2", 21, 2);
  CHECK(rig.said().empty());  // it was told nothing
  rig.wait(kRespawnMax);
  rig.start_child(kFirst);
  rig.start_child(kSecond);
  rig.report(Rig::up(32), 21, 2);
  CHECK(rig.said().back() == "n2 21: order g2 2=32");
}

TEST_CASE("node supervisor: a node that comes back as another process has lost its ranks") {
  Rig rig;
  rig.serve();
  rig.lose_peer("n2", 1);
  CHECK(rig.group().state == GroupState::ready);  // a broken link is no death
  rig.join_peer("n2", 21, 2);
  CHECK(rig.group().reason ==
        "the process of rank 2 on node n2 ended: its node is gone (it was started anew)");
}

TEST_CASE("node supervisor: what a broken link kept from a node is said when it is linked again") {
  Rig rig;
  rig.form();
  rig.from(kFirst, listening(0, 1));
  rig.report(Rig::listens(22, 1));
  rig.lose_peer("n2", 1);
  rig.from(kSecond, listening(1, 1));
  CHECK(rig.said().size() == 2);  // to its own ranks only
  rig.join_peer("n2", 20, 2);
  CHECK(rig.said() == Words{"n2 20: order g1 2=22 join of 3"});
  rig.report(Rig::listens(22, 1), 20, 2);
  CHECK(rig.said().empty());
}

TEST_CASE(
    "node supervisor: a remote rank that takes too long is ended by its node, with a reason") {
  Rig rig;
  rig.form();
  rig.from(kFirst, listening(0, 1));
  rig.from(kSecond, listening(1, 1));
  rig.wait(kLoadTimeout);
  CHECK(rig.group().reason ==
        "loading took too long: the process of rank 2 on node n2 has not said where it listens");
  CHECK(rig.said().back() == "n2 20: order g1 2=22 over");
  rig.exit(kFirst);
  rig.exit(kSecond);
  rig.wait(kAbortDeadline);
  CHECK(rig.event("kill") == "rank 2 of group 1: it did not end in time when told to");
  CHECK(rig.said().back() == "n2 20: order g1 2=22 over");
}

TEST_CASE("node supervisor: a head that drains tells the other node before it stops") {
  Rig rig;
  rig.serve();
  rig.step(node_in::Drain{});
  CHECK(rig.group().state == GroupState::draining);
  rig.exit(kSecond, "exit status 0");
  CHECK(rig.said() ==
        Words{"unshare g1", "n1/shard/m.1.0 101: abort g1", "n2 20: order g1 2=22 join of 3 over"});
  CHECK(rig.group().state == GroupState::stopped);
  rig.report(Rig::up(33));  // it has begun anew there, for nobody
  CHECK(rig.said().empty());
  rig.exit(kFirst, "exit status 0");
  CHECK(rig.said() == Words{"stopped"});
}

TEST_CASE("node supervisor: a local rank that fails again and again fails the group of two nodes") {
  Rig rig;
  rig.form();
  for (int i = 0; i <= kRestartBudget; ++i) {
    rig.exit(kSecond, "exit status 70");
    if (i == kRestartBudget) break;
    rig.wait(kRespawnMax);
    rig.start_child(kSecond);
  }
  CHECK(rig.group().state == GroupState::failed);
}

TEST_CASE("node supervisor: a remote rank that fails again and again fails the group, by name") {
  Rig rig;
  rig.serve();
  RankState state{.rank = 2, .why = "signal 9"};
  rig.report(state);
  CHECK(rig.machine.routing().groups.at(0).state == GroupState::starting);
  state.why = "its shard process died 6 times";
  state.failed = true;
  rig.report(state);
  const GroupEndpoint failed = rig.machine.routing().groups.at(0);
  CHECK(failed.state == GroupState::failed);
  CHECK(failed.reason == "rank 2 on n2: its shard process died 6 times");
  rig.report(Rig::up(33));
  CHECK(rig.machine.routing().groups.at(0).state == GroupState::starting);
}

}  // namespace node_supervisor_remote_test
