// How a node ends by plan: routers, groups, ranks, in this order.
#include "cluster/node_supervisor.h"
#include "node_rig.h"

using namespace troupe;
using troupe::test::NodeRig;

namespace node_supervisor_drain_test {
namespace {
const std::string &kRouter = NodeRig::kRouter, &kSolo = NodeRig::kSolo, &kFirst = NodeRig::kFirst,
                  &kSecond = NodeRig::kSecond;
}  // namespace

TEST_CASE("node supervisor: a drain ends routers first, then groups, their ranks, and the node") {
  NodeRig rig;
  rig.start_all();
  rig.step(node_in::Drain{});
  CHECK(rig.machine.draining());
  REQUIRE(rig.sent<DrainOrder>(kRouter).size() == 1);
  CHECK(rig.sent<DrainOrder>(kRouter)[0].within == 30s);
  CHECK(rig.all<node_out::End>().empty());
  CHECK(rig.group(0).state == GroupState::ready);  // its router still has work for it
  CHECK(rig.machine.deadline() == rig.now + 30s);
  rig.from(kRouter, Drained{"n1/other"});
  CHECK(rig.effects.empty());
  rig.from(kSolo, Drained{kSolo});
  CHECK(rig.effects.empty());
  rig.from(kRouter, Drained{kRouter});
  REQUIRE(rig.all<node_out::End>().size() == 1);
  CHECK(rig.all<node_out::End>()[0].child == kRouter);
  rig.wait(10s);
  rig.exit(kRouter, "exit status 0");
  // Routers of other nodes may still have requests there.
  CHECK(rig.all<node_out::End>().empty());
  CHECK(rig.group(0).state == GroupState::draining);
  CHECK(rig.group(1).state == GroupState::draining);
  for (const std::string& head : {kSolo, kFirst}) {
    REQUIRE(rig.sent<DrainOrder>(head).size() == 1);
    CHECK(rig.sent<DrainOrder>(head)[0].within == 20s);
  }
  CHECK(rig.sent<DrainOrder>(kSecond).empty());
  rig.from(kSolo, Drained{kSolo});
  CHECK(rig.all<node_out::End>().empty());
  rig.from(kSolo, Drained{kFirst});  // nobody speaks for another
  CHECK(rig.all<node_out::End>().empty());
  rig.from(kFirst, Drained{kFirst});
  CHECK(rig.all<node_out::End>().size() == 3);
  rig.exit(kSolo, "exit status 0");
  rig.exit(kFirst, "exit status 0");
  CHECK(rig.all<node_out::Stopped>().empty());
  rig.exit(kSecond, "exit status 0");
  CHECK(rig.all<node_out::Stopped>().size() == 1);
  rig.step(node_in::Drain{});
  rig.wait(1000s);
  CHECK(rig.effects.empty());
  CHECK(!rig.machine.deadline());
}

TEST_CASE("node supervisor: groups that do not finish end when the drain is due, or die before") {
  NodeRig rig;
  rig.start_all();
  rig.step(node_in::Drain{});
  rig.from(kRouter, Drained{kRouter});
  rig.exit(kRouter, "exit status 0");
  REQUIRE(rig.sent<DrainOrder>(kSolo).size() == 1);
  SUBCASE("due") {
    rig.wait(30s - 1ns);
    CHECK(rig.all<node_out::End>().empty());
    rig.wait(1ns);
    CHECK(rig.all<node_out::End>().size() == 3);
  }
  SUBCASE("a head that dies is not waited for") {
    rig.from(kFirst, Drained{kFirst});
    CHECK(rig.all<node_out::End>().empty());
    rig.exit(kSolo);
    CHECK(rig.all<node_out::End>().size() == 2);
  }
  SUBCASE("a second drain") {
    rig.step(node_in::Drain{});
    CHECK(rig.all<node_out::End>().size() == 3);
  }
}

TEST_CASE("node supervisor: a router that never answers Drained is ended when the drain is due") {
  NodeRig rig;
  rig.start_all();
  rig.step(node_in::Drain{});
  rig.wait(30s - 1ns);
  CHECK(rig.all<node_out::End>().empty());
  rig.wait(1ns);
  CHECK(rig.all<node_out::End>().size() == 4);
  for (const std::string& child : {kSolo, kFirst, kSecond, kRouter}) rig.exit(child);
  CHECK(rig.all<node_out::Stopped>().size() == 1);
}

TEST_CASE(
    "node supervisor: a second drain ends it now, and a child that stays does not hold it up") {
  NodeRig rig;
  rig.start_all();
  rig.step(node_in::Drain{});
  rig.step(node_in::Drain{});
  CHECK(rig.all<node_out::End>().size() == 4);
  CHECK(rig.machine.deadline() == rig.now + 5s);
  for (const std::string& child : {kSolo, kFirst, kSecond}) rig.exit(child);
  rig.wait(5s - 1ns);
  CHECK(rig.all<node_out::Stopped>().empty());
  rig.wait(1ns);
  CHECK(rig.event("drain") == "some processes did not end in time");
  CHECK(rig.all<node_out::Stopped>().size() == 1);
}

TEST_CASE("node supervisor: after a drain has begun nothing is spawned") {
  NodeRig rig;
  SUBCASE("a spawn under way is ended once it is there") {
    rig.step(node_in::Start{});
    rig.step(node_in::Drain{});
    CHECK(rig.all<node_out::Stopped>().empty());
    for (const std::string& child : {kRouter, kSolo, kFirst}) {
      rig.spawned(child);
      CHECK(rig.all<node_out::End>().size() == 1);
      rig.hello(child);
      CHECK(rig.sent<HelloReply>(child)[0].reason == "this node is draining");
      rig.exit(child);
    }
    CHECK(rig.all<node_out::Stopped>().empty());
    rig.step(node_in::SpawnFailed{kSecond, "no memory"});
  }
  SUBCASE("a shard that dies meanwhile leaves its group stopped") {
    rig.start_all();
    rig.step(node_in::Drain{});
    rig.exit(kSolo);
    CHECK(rig.group(0).state == GroupState::stopped);
    CHECK(rig.group(1).state == GroupState::ready);
    rig.wait(20s);
    CHECK(rig.all<node_out::Spawn>().empty());
    rig.step(node_in::Restart{kFirst});
    CHECK(rig.effects.empty());
    rig.exit(kRouter);  // its death ends what it had to finish
    CHECK(rig.all<node_out::Spawn>().empty());
    CHECK(rig.sent<DrainOrder>(kSolo).empty());
    rig.from(kFirst, Drained{kFirst});
    CHECK(rig.all<node_out::End>().size() == 2);
    rig.exit(kFirst);
    rig.exit(kSecond);
  }
  SUBCASE("before the start") {
    rig.step(node_in::Drain{});
    CHECK(rig.all<node_out::Stopped>().size() == 1);
    rig.step(node_in::Start{});
    CHECK(rig.effects.empty());
    return;
  }
  CHECK(rig.all<node_out::Stopped>().size() == 1);
}

}  // namespace node_supervisor_drain_test
