#include <doctest/doctest.h>

#include "tests/unit/node_rig.h"

using namespace troupe;
using test::NodeRig;

namespace node_supervisor_peers_test {
namespace {

NodeSupervisorConfig with_peer() {
  NodeSupervisorConfig config = test::node_config();
  config.children.push_back({NodeRig::kLink, Role::link, {}, 0});
  config.peers = {{"n2", {{GroupId(2), "m", "/run/dg2"}}}};
  return config;
}

struct PeerRig : NodeRig {
  PeerRig() : NodeRig(with_peer()) {}
  static Hello hello_of_n2(uint64_t incarnation) {
    return {"demo", 1, "b1", "n2", Role::supervisor, "n2/supervisor", Incarnation(incarnation), {}};
  }
  void from_n2(uint64_t incarnation, uint64_t link, Message message) {
    step(node_in::FromPeer{"n2", Incarnation(incarnation), std::move(message), PeerLinkId(link)});
  }
  void join_n2(uint64_t incarnation, uint64_t link) {
    step(node_in::PeerDialled{"n2", PeerLinkId(link)});
    from_n2(incarnation, link, HelloReply{Incarnation(incarnation), true, ""});
    from_n2(incarnation, link, hello_of_n2(incarnation));
  }
  void n2_tells(uint64_t incarnation, uint64_t link, uint64_t version, GroupState state) {
    NodeReport report{Incarnation(incarnation), version, "ready", {}, {}};
    GroupEndpoint group;
    group.group = GroupId(2);
    group.model = "m";
    group.state = state;
    group.incarnation = Incarnation(22);
    report.groups = {group};
    from_n2(incarnation, link, report);
  }
  std::vector<NodeReport> reports() const {
    std::vector<NodeReport> found;
    for (const auto& to : all<node_out::ToPeer>())
      if (auto* report = std::get_if<NodeReport>(&to.message)) found.push_back(*report);
    return found;
  }
};

}  // namespace

TEST_CASE("node supervisor: groups of another node stand in its routers' table, by its door") {
  PeerRig rig;
  rig.step(node_in::Start{});
  REQUIRE(rig.all<node_out::DialPeer>().size() == 1);
  rig.join(NodeRig::kRouter);
  CHECK(rig.group(2).state == GroupState::stopped);
  CHECK(rig.group(2).reason == "node n2 is not in the cluster: it has not been dialled yet");
  rig.join_n2(20, 1);
  rig.n2_tells(20, 1, 1, GroupState::ready);
  const auto tables = rig.sent<RoutingTable>(NodeRig::kRouter);
  REQUIRE(tables.size() == 1);
  REQUIRE(tables[0].groups.size() == 3);
  CHECK(tables[0].node == Incarnation(1));
  CHECK(tables[0].groups[2].node == "n2");
  CHECK(tables[0].groups[2].socket == "/run/dg2");
  CHECK(tables[0].groups[2].state == GroupState::ready);
}

TEST_CASE("node supervisor: a node found dead leaves the table, and the link is told to cut it") {
  PeerRig rig;
  rig.step(node_in::Start{});
  rig.join(NodeRig::kRouter);
  rig.join(NodeRig::kLink);
  rig.join_n2(20, 1);
  CHECK(rig.all<node_out::Watch>().at(0).child == "n2");
  rig.n2_tells(20, 1, 1, GroupState::ready);
  CHECK(rig.all<node_out::PeerBeat>().at(0).node == "n2");
  rig.step(node_in::Judged{"n2", Incarnation(20), Verdict::dead});
  CHECK(rig.all<node_out::CutPeer>().at(0).node == "n2");
  CHECK(rig.sent<CutOrder>(NodeRig::kLink).at(0).node == "n2");
  const auto tables = rig.sent<RoutingTable>(NodeRig::kRouter);
  REQUIRE(tables.size() == 1);
  CHECK(tables[0].groups[2].state == GroupState::stopped);
}

TEST_CASE("node supervisor: whom it does not hear stands in the table, and doubt in its state") {
  NodeSupervisorConfig config = with_peer();
  config.peers.push_back({"n3", {}});
  NodeRig rig(config);
  rig.start_all();
  rig.join(NodeRig::kLink);
  CHECK(rig.machine.routing().remark.starts_with("this node hears no other node"));
  CHECK_FALSE(rig.machine.routing().cut_off);
  for (const auto& [node, incarnation] : {std::pair("n2", 20), std::pair("n3", 30)}) {
    const Incarnation process(static_cast<uint64_t>(incarnation));
    rig.step(node_in::PeerDialled{node, PeerLinkId(process.value)});
    const Hello hello{"demo", 1, "b1", node, Role::supervisor, "another's actor", process, {}};
    rig.step(node_in::FromPeer{node, process, hello, PeerLinkId(process.value)});
  }
  CHECK(rig.machine.routing().remark.empty());
  CHECK(rig.machine.state() == "ready");
  rig.step(node_in::Judged{"n2", Incarnation(20), Verdict::suspect});
  rig.step(node_in::Judged{"n3", Incarnation(30), Verdict::suspect});
  const auto tables = rig.sent<RoutingTable>(NodeRig::kRouter);
  REQUIRE(tables.size() == 1);
  CHECK(tables[0].cut_off);
  CHECK(tables[0].remark.starts_with("this node stopped hearing 2 of 2 other nodes at once"));
  CHECK(tables[0].groups[0].state == GroupState::ready);
  CHECK(rig.machine.state() == "suspect");
  rig.step(node_in::Judged{"n3", Incarnation(30), Verdict::alive});
  CHECK(rig.machine.state() == "ready");
  CHECK_FALSE(rig.machine.routing().cut_off);
}

TEST_CASE("node supervisor: tells the others of itself on change, and at least each interval") {
  PeerRig rig;
  rig.step(node_in::Start{});
  rig.join_n2(20, 1);
  REQUIRE(rig.reports().size() == 1);
  const NodeReport first = rig.reports()[0];
  CHECK(first.node == Incarnation(1));
  CHECK(first.state == "starting");
  CHECK(first.actors.size() == 5);
  REQUIRE(first.groups.size() == 2);
  CHECK(first.groups[0].socket.empty());
  rig.wait(kNodeReportInterval - 1ms);
  CHECK(rig.reports().empty());
  CHECK(*rig.machine.deadline() <= rig.now + 1ms);
  rig.wait(1ms);
  REQUIRE(rig.reports().size() == 1);
  CHECK(rig.reports()[0].version == first.version + 1);
  // A group that becomes ready is told at once.
  rig.join(NodeRig::kSolo);
  rig.loaded(NodeRig::kSolo);
  REQUIRE(rig.reports().size() == 1);
  CHECK(rig.reports()[0].groups[0].state == GroupState::ready);
  // What the other node says is no news to it.
  rig.n2_tells(20, 1, 1, GroupState::ready);
  CHECK(rig.reports().empty());
}

TEST_CASE("node supervisor: a report stays within its bound, with whole characters") {
  NodeSupervisorConfig config = with_peer();
  config.children.resize(1);
  config.groups.clear();
  for (size_t i = 0; i < kNodeReportActorsMax + 10; ++i)
    config.children.push_back({"n1/router" + std::to_string(i), Role::router, {}, 0});
  NodeRig rig(config);
  rig.step(node_in::Start{});
  std::string long_error = "x";
  while (long_error.size() < 2 * kNodeReportTextMax) long_error += "\u00e4";
  rig.spawned(NodeRig::kRouter);
  rig.exit(NodeRig::kRouter, long_error);
  rig.step(node_in::PeerDialled{"n2", PeerLinkId(1)});
  for (const Message& message :
       {Message(HelloReply{Incarnation(20), true, ""}), Message(PeerRig::hello_of_n2(20))})
    rig.step(node_in::FromPeer{"n2", Incarnation(20), message, PeerLinkId(1)});
  for (const auto& to : rig.all<node_out::ToPeer>())
    if (auto* report = std::get_if<NodeReport>(&to.message)) {
      CHECK(report->actors.size() == kNodeReportActorsMax);
      CHECK(report->actors[0].last_error.size() == kNodeReportTextMax - 1);
      CHECK(long_error.starts_with(report->actors[0].last_error));
      return;
    }
  FAIL("no report");
}

}  // namespace node_supervisor_peers_test
