// A node that runs ranks of a group which another node heads.
#include "tests/unit/hosts_rig.h"

using namespace troupe;
using test::HostsRig;
using test::listening;
using test::Words;

namespace node_supervisor_lent_test {
namespace {

const std::string kRank1 = "n2/shard/m.1.1", kRank2 = "n2/shard/m.1.2";

RanksOrder order(uint32_t generation, uint64_t first, uint64_t second) {
  RanksOrder o;
  o.load.group = GroupId(1);
  o.load.generation = Generation(generation);
  o.load.model = "m";
  o.load.threads = 3;  // the head's
  o.load.hosts = {0, 1, 1};
  o.ranks = {{1, Incarnation(first)}, {2, Incarnation(second)}};
  return o;
}
RanksOrder meeting(uint32_t generation, uint64_t first, uint64_t second) {
  RanksOrder o = order(generation, first, second);
  o.join = RankJoin{
      GroupId(1), Generation(generation), {test::place(0), test::place(1), test::place(2)}, {8}};
  return o;
}

struct Rig : HostsRig {
  Rig() : HostsRig(test::lender_config()) {}

  void ordered(const RanksOrder& o, uint64_t head = 10, uint64_t link = 1) {
    from_peer("n1", head, link, o);
  }
  /// Processes 101 and 102, linked to the head.
  void start() {
    step(node_in::Start{});
    join_peer("n1", 10, 1);
    start_child(kRank1);
    start_child(kRank2);
  }
  void load(uint32_t generation = 1) {
    start();
    ordered(order(generation, 101, 102));
  }
  void serve() {
    load();
    from(kRank1, listening(1, 1));
    from(kRank2, listening(2, 1));
    ordered(meeting(1, 101, 102));
    from(kRank1, loads(1, 1));
    from(kRank2, loads(2, 1));
  }
};

const Words kEnded{"unshare g1", "n2/shard/m.1.1 101: abort g1", "n2/shard/m.1.2 102: abort g1"};

}  // namespace

TEST_CASE("node supervisor: the head hears of lent ranks as they come") {
  Rig rig;
  rig.step(node_in::Start{});
  rig.start_child(kRank1);
  CHECK(rig.said().empty());
  rig.join_peer("n1", 10, 1);
  CHECK(rig.said() ==
        Words{"n1 10: report over g0 1=101 2: the shard process has not started yet"});
  rig.start_child(kRank2);
  CHECK(rig.said() == Words{"n1 10: report over g0 1=101 2=102"});
}

TEST_CASE("node supervisor: lent ranks load by the head's order, with the threads of their node") {
  Rig rig;
  rig.load();
  const Words loads{"share g1 n2/shard/m.1.1 101 n2/shard/m.1.2 102",
                    "n2/shard/m.1.1 101: load g1 rank 1 threads 5 hosts 0 1 1",
                    "n2/shard/m.1.2 102: load g1 rank 2 threads 5 hosts 0 1 1"};
  CHECK(rig.said() == loads);
  rig.ordered(order(1, 101, 102));
  CHECK(rig.said().empty());
}

TEST_CASE("node supervisor: lent ranks meet, load and answer through their node") {
  Rig rig;
  rig.load();
  rig.from(kRank1, listening(1, 1));
  CHECK(rig.said() == Words{"n1 10: report over g0 1=101@ 2=102"});
  rig.from(kRank2, listening(2, 1));
  CHECK(rig.said() == Words{"n1 10: report over g0 1=101@ 2=102@"});
  rig.ordered(meeting(1, 101, 102));
  const std::string where = ": join g1 10.0.0.0:7000 10.0.0.1:7001 10.0.0.2:7002";
  CHECK(rig.said() == Words{kRank1 + " 101" + where, kRank2 + " 102" + where});
  CHECK(rig.sent<RankJoin>(kRank1).at(0).key == meeting(1, 101, 102).join->key);
  rig.ordered(meeting(1, 101, 102));
  CHECK(rig.said().empty());
  CHECK(rig.row(kRank1).state == "starting");
  CHECK(rig.row(kRank1).reason == "the model is loading");
  rig.from(kRank1, rig.loads(1, 1));
  CHECK(rig.said() == Words{"n1 10: report over g0 1=101@+ 2=102@"});
  CHECK(rig.row(kRank1).state == "ready");
  CHECK(rig.row(kRank1).reason.empty());
  CHECK(rig.row(kRank1).model == "m");
  CHECK(rig.row(kRank1).group == 1);
  CHECK(rig.row(kRank1).rank == 1);
  CHECK(rig.row(kRank1).generation == 1);
  CHECK(rig.machine.state() == "starting");
  rig.from(kRank2, rig.loads(2, 1));
  CHECK(rig.machine.state() == "ready");
  rig.from(kRank2, StepFault{GroupId(1), Generation(1), {ErrorCode::internal, "diverged", {}}});
  CHECK(rig.said() == Words{"n1 10: report over g0 1=101@+ 2=102@+!"});
  CHECK(rig.row(kRank2).reason == "a step failed: diverged");
  CHECK(rig.machine.dropped() == 0);
}

TEST_CASE("node supervisor: only the head orders lent ranks, and only its node's ranks answer") {
  Rig rig;
  rig.start();
  rig.join_peer("n3", 30, 2);
  SUBCASE("another node orders") { rig.from_peer("n3", 30, 2, order(1, 101, 102)); }
  SUBCASE("the head orders ranks of a group that is not lent") {
    RanksOrder other = order(1, 101, 102);
    other.load.group = GroupId(2);
    rig.ordered(other);
  }
  SUBCASE("the head is told as if it lent") {
    rig.from_peer("n1", 10, 1, RanksReport{GroupId(1), {}, {}});
  }
  SUBCASE("a place of no generation") { rig.from(kRank1, listening(1, 1)); }
  SUBCASE("a place of another rank") { rig.from(kRank1, listening(2, 1)); }
  CHECK(rig.said().empty());
  CHECK(rig.machine.dropped() == 1);
}

TEST_CASE("node supervisor: lent ranks end when the head says so, and are started anew") {
  Rig rig;
  rig.serve();
  RanksOrder over = meeting(1, 101, 102);
  over.over = true;
  rig.ordered(over);
  Words expected = kEnded;
  expected.push_back(
      "n1 10: report over g1 1: the head ended the generation 2: the head ended the generation");
  CHECK(rig.said() == expected);
  CHECK(rig.row(kRank1).state == "starting");
  CHECK(rig.row(kRank1).reason == "the head ended the generation");
  CHECK(rig.machine.deadline() <= rig.now + kAbortDeadline);
  rig.exit(kRank1, "exit status 70");
  rig.wait(kAbortDeadline);
  CHECK(rig.said() == Words{"end n2/shard/m.1.2 102 by force"});
  CHECK(rig.event("kill") == "it did not end in time when told to");
}

TEST_CASE("node supervisor: with the head's node found dead lent ranks end") {
  Rig rig;
  rig.serve();
  rig.step(node_in::Judged{"n1", Incarnation(10), Verdict::dead});
  CHECK(rig.said() == kEnded);
  CHECK(rig.row(kRank1).reason == "the head's node is gone");
}

TEST_CASE("node supervisor: the head's next life counts from 1 again, with fresh processes only") {
  Rig rig;
  rig.serve();
  rig.lose_peer("n1", 1);
  CHECK(rig.said().empty());  // a broken link is no death
  rig.join_peer("n1", 11, 2);
  Words expected = kEnded;
  expected.push_back("n1 11: report over g0 1: the head's node is gone 2: the head's node is gone");
  CHECK(rig.said() == expected);
  rig.ordered(order(1, 101, 102), 11, 2);
  CHECK(rig.said().empty());
  rig.exit(kRank1);
  rig.exit(kRank2);
  rig.wait(kRespawnMax);
  rig.start_child(kRank1);
  rig.start_child(kRank2);
  CHECK(rig.said() == Words{"n1 11: report over g0 1=103 2=104"});
  rig.ordered(order(1, 103, 104), 11, 2);
  CHECK(rig.said().empty());  // generation 1 was begun with processes that are gone
  rig.ordered(order(2, 103, 104), 11, 2);
  CHECK(rig.said().size() == 3);
}

TEST_CASE(
    "node supervisor: what a broken link kept from the head is told when it is linked again") {
  Rig rig;
  rig.load();
  rig.lose_peer("n1", 1);
  rig.from(kRank1, listening(1, 1));
  rig.from(kRank2, listening(2, 1));
  CHECK(rig.said().empty());
  rig.join_peer("n1", 10, 2);
  CHECK(rig.said() == Words{"n1 10: report over g0 1=101@ 2=102@"});
  rig.ordered(order(1, 101, 102), 10, 2);  // what the head said before, once more
  CHECK(rig.said().empty());
  rig.ordered(meeting(1, 101, 102), 10, 2);
  CHECK(rig.said().size() == 2);
}

TEST_CASE("node supervisor: a lent rank that is silent, lost or mute is the head's to know") {
  Rig rig;
  rig.serve();
  SUBCASE("silent") {
    rig.step(node_in::Judged{kRank1, Incarnation(101), Verdict::suspect});
    CHECK(rig.said() == Words{"n1 10: report over g0 1=101?@+ 2=102@+"});
    CHECK(rig.row(kRank1).state == "suspect");
    return;
  }
  Words expected{"unshare g1", "n2/shard/m.1.2 102: abort g1"};
  SUBCASE("found dead") {
    rig.step(node_in::Judged{kRank1, Incarnation(101), Verdict::dead});
    expected.push_back("n1 10: report over g0 1: it was silent 2: another rank of its node ended");
    expected.push_back("end n2/shard/m.1.1 101 by force");
  }
  SUBCASE("its link broke") {
    rig.step(node_in::LinkLost{kRank1, Incarnation(101)});
    expected.push_back("n1 10: report over g0 1: its link broke 2: another rank of its node ended");
    expected.push_back("end n2/shard/m.1.1 101 by force");
  }
  SUBCASE("reaped") {
    rig.exit(kRank1, "signal 9 (SIGKILL)");
    expected.push_back(
        "n1 10: report over g0 1: signal 9 (SIGKILL) 2: another rank of its node ended");
  }
  CHECK(rig.said() == expected);
}

TEST_CASE("node supervisor: memory that lent ranks can't have is an answer to their order") {
  Rig rig;
  rig.load();
  rig.step(node_in::ShareFailed{
      GroupId(1), Generation(1), {ErrorCode::unavailable, "no memory is left", {}}});
  CHECK(rig.said() == Words{"n1 10: report over g0 1=101- 2=102-"});
  CHECK(rig.all<node_out::LoadFailed>().empty());  // the group is not this node's
  CHECK(rig.row(kRank1).reason == "loading failed: no memory is left");
}

TEST_CASE("node supervisor: a node that drains takes its ranks from the head, and ends") {
  Rig rig;
  rig.serve();
  rig.step(node_in::Drain{});
  const std::string report =
      "n1 10: report over g0 1: its node is draining 2: its node is draining";
  CHECK(rig.said() == Words{"end n2/shard/m.1.1 101", "end n2/shard/m.1.2 102", kEnded[0],
                            kEnded[1], kEnded[2], report});
  rig.exit(kRank1, "exit status 0");
  CHECK(rig.said().empty());
  rig.exit(kRank2, "exit status 0");
  CHECK(rig.said() == Words{"stopped"});
}

TEST_CASE("node supervisor: a lent rank that fails again and again is told to its head as failed") {
  Rig rig;
  rig.serve();
  for (int i = 0; i <= kRestartBudget; ++i) {
    rig.exit(kRank2, "exit status 70");
    if (i == kRestartBudget) break;
    rig.wait(kRespawnMax);
    rig.start_child(kRank2);
  }
  const std::string last = rig.said().back();
  CHECK(
      last.ends_with("2: its shard process died 6 times in 300 s, tried again every 30 s; last: "
                     "exit status 70"));
  CHECK(rig.row(kRank2).state == "failed");
}

}  // namespace node_supervisor_lent_test
