// The link process among a node's children.
#include <algorithm>

#include "cluster/node_supervisor.h"
#include "node_rig.h"

using namespace troupe;
using troupe::test::NodeRig;

namespace node_supervisor_link_test {
namespace {

const std::string &kRouter = NodeRig::kRouter, &kSolo = NodeRig::kSolo, &kLink = NodeRig::kLink;

NodeSupervisorConfig config_with_link() {
  NodeSupervisorConfig config = troupe::test::node_config();
  config.children.push_back({kLink, Role::link, {}, 0});
  return config;
}

std::string state_of(const NodeRig& rig, const std::string& child) {
  for (const ActorStatus& row : rig.machine.tree())
    if (row.id == child) return row.state;
  return "none";
}

}  // namespace

TEST_CASE("node supervisor: a killed link is started again and nothing else is touched") {
  NodeRig rig(config_with_link());
  rig.start_all();
  rig.join(kLink);
  REQUIRE(rig.sent<HelloReply>(kLink).size() == 1);
  CHECK(rig.sent<HelloReply>(kLink)[0].accepted);
  CHECK(state_of(rig, kLink) == "ready");
  const RoutingTable before = rig.machine.routing();
  const Incarnation first = rig.incarnation(kLink);

  rig.exit(kLink, "signal 9 (SIGKILL)");
  CHECK(rig.all<node_out::ToChild>().empty());
  CHECK(rig.all<node_out::End>().empty());
  rig.wait(kRespawnFirst);
  REQUIRE(rig.all<node_out::Spawn>().size() == 1);
  CHECK(rig.all<node_out::Spawn>()[0].child.name == kLink);
  rig.join(kLink);
  CHECK(rig.incarnation(kLink) != first);
  CHECK(state_of(rig, kLink) == "ready");
  CHECK(rig.machine.routing() == before);
  CHECK(rig.machine.supervision().find(kLink)->restarts == 1);
  CHECK(rig.machine.supervision().find(kSolo)->restarts == 0);
}

TEST_CASE("node supervisor: a silent link is killed and started again") {
  NodeRig rig(config_with_link());
  rig.start_all();
  rig.join(kLink);
  rig.step(node_in::Judged{kLink, rig.incarnation(kLink), Verdict::dead});
  REQUIRE(rig.all<node_out::End>().size() == 1);
  CHECK(rig.all<node_out::End>()[0].child == kLink);
  CHECK(rig.all<node_out::End>()[0].force);
  CHECK(rig.group(0).state == GroupState::ready);
}

TEST_CASE("node supervisor: a link reports and says nothing else that counts") {
  NodeRig rig(config_with_link());
  rig.start_all();
  rig.join(kLink);
  const uint64_t dropped = rig.machine.dropped();
  ProcessReport report;
  report.process = kLink;
  report.incarnation = rig.incarnation(kLink);
  report.describe = "3 streams";
  rig.from(kLink, report);
  CHECK(rig.machine.dropped() == dropped);
  rig.from(kLink, rig.report(kSolo, false));
  rig.from(kLink, JournalRead{});
  CHECK(rig.machine.dropped() == dropped + 2);
  CHECK(rig.all<node_out::ToChild>().empty());
  CHECK(rig.group(0).state == GroupState::ready);
}

TEST_CASE("node supervisor: in a drain the link ends last") {
  NodeRig rig(config_with_link());
  rig.start_all();
  rig.join(kLink);
  rig.step(node_in::Drain{});
  CHECK(rig.all<node_out::End>().empty());
  rig.from(kRouter, Drained{kRouter});
  rig.exit(kRouter, "exit status 0");
  rig.from(kSolo, Drained{kSolo});
  rig.from(NodeRig::kFirst, Drained{NodeRig::kFirst});
  CHECK(rig.all<node_out::End>().size() == 3);
  for (const std::string& child : {kSolo, NodeRig::kFirst, NodeRig::kSecond}) {
    for (const auto& end : rig.all<node_out::End>()) CHECK(end.child != kLink);
    rig.exit(child);
  }
  REQUIRE(rig.all<node_out::End>().size() == 1);
  CHECK(rig.all<node_out::End>()[0].child == kLink);
  CHECK(rig.all<node_out::Stopped>().empty());  // it still runs
  rig.exit(kLink, "exit status 0");
  CHECK(rig.all<node_out::Stopped>().size() == 1);
}

}  // namespace node_supervisor_link_test
