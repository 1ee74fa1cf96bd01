#include "actors/peer_links.h"

#include <doctest/doctest.h>

#include "actors/supervisor_actor.h"
#include "tests/actors/fixture.h"

using namespace troupe;
using troupe::testing::ScriptedActor;
using troupe::testing::Stage;

namespace peer_links_test {
namespace {

/// Two nodes whose supervisors reach each other by what stands in for the link.
struct TwoNodes {
  Stage stage;
  caf::actor middleman;
  std::map<std::string, caf::actor> at;  ///< who listens, by path; null: nobody
  std::map<std::string, caf::actor> supervisors;
  std::map<std::string, std::shared_ptr<SharedTree>> trees;
  int dials = 0;
  std::string caller = "n1";  ///< who dials, by its certificate

  TwoNodes() {
    middleman = stage.system.spawn<ScriptedActor>([this]() -> caf::behavior {
      return {[this](caf::connect_atom, const std::string& path, uint16_t)
                  -> caf::result<caf::node_id, caf::strong_actor_ptr, std::set<std::string>> {
                ++dials;
                if (!at[path]) return caf::sec::cannot_connect_to_node;
                return {caf::node_id{}, caf::actor_cast<caf::strong_actor_ptr>(at[path]),
                        std::set<std::string>{}};
              },
              [this](caf::get_atom,
                     const caf::node_id& node) -> caf::result<caf::node_id, std::string, uint16_t> {
                return {node, caller, uint16_t{1}};
              }};
    });
    stage.drain();
  }
  ~TwoNodes() {
    for (auto& [name, supervisor] : supervisors) end(name);
    caf::anon_send_exit(middleman, caf::exit_reason::kill);
    stage.drain();
  }
  void start(const std::string& name, const std::string& other, uint64_t incarnation,
             const std::string& cluster = "demo") {
    SupervisorActorConfig config;
    NodeSupervisorConfig& m = config.machine;
    m.cluster = cluster;
    m.node = name;
    m.build = "b1";
    m.wire_version = kWireVersion;
    m.incarnation = Incarnation(incarnation);
    m.peers = {{other, {}}};
    config.nodes = {"n1", "n2"};
    config.middleman = middleman;
    if (name < other) config.doors[other] = "/door/" + other;
    config.tree = trees[name] = std::make_shared<SharedTree>();
    config.stopped = [] {};
    supervisors[name] = stage.system.spawn<SupervisorActor>(std::move(config));
    caf::anon_send(supervisors[name], local(NodeInput(node_in::Start{})));
    at["/door/" + name] = supervisors[name];
    stage.drain();
  }
  void end(const std::string& name) {
    caf::anon_send_exit(supervisors[name], caf::exit_reason::kill);
    at["/door/" + name] = caf::actor();
    stage.drain();
  }
  NodeTree seen(const std::string& by, const std::string& node) {
    for (const NodeTree& tree : trees[by]->all())
      if (tree.name == node) return tree;
    return {};
  }
};

}  // namespace

TEST_CASE("peer links: two nodes greet, and each shows the other with its actors") {
  TwoNodes nodes;
  nodes.start("n1", "n2", 11);
  CHECK(nodes.seen("n1", "n2").state == "stopped");
  CHECK(nodes.seen("n1", "n2").reason == "it does not answer");
  nodes.start("n2", "n1", 22);
  nodes.stage.advance(2 * kPeerRedialFirst);
  for (auto [by, node, incarnation] : {std::tuple("n1", "n2", 22), std::tuple("n2", "n1", 11)}) {
    const NodeTree tree = nodes.seen(by, node);
    CHECK(tree.state == "ready");
    CHECK(tree.incarnation == Incarnation(static_cast<uint64_t>(incarnation)));
    REQUIRE(tree.actors.size() == 2);
    CHECK(tree.actors[0].id == std::string(node) + "/supervisor");
    CHECK(tree.actors[1].id == std::string(node) + "/health");
  }
  // All is quiet: reports keep both alive.
  nodes.stage.advance(3 * kDeadAfter);
  CHECK(nodes.seen("n1", "n2").state == "ready");
  CHECK(nodes.dials == 2);
}

TEST_CASE("peer links: a node that ends is stopped on the other in time, and in again when back") {
  TwoNodes nodes;
  nodes.start("n2", "n1", 22);
  nodes.start("n1", "n2", 11);
  nodes.stage.advance(kPeerRedialFirst);
  REQUIRE(nodes.seen("n1", "n2").state == "ready");
  nodes.end("n2");
  nodes.stage.advance(kSuspectAfter + 20ms);
  CHECK(nodes.seen("n1", "n2").state == "suspect");
  nodes.stage.advance(kDeadAfter - kSuspectAfter);
  CHECK(nodes.seen("n1", "n2").state == "stopped");
  CHECK(nodes.seen("n1", "n2").actors.empty());
  nodes.start("n2", "n1", 23);
  nodes.stage.advance(kPeerRedialMax + 100ms);
  CHECK(nodes.seen("n1", "n2").state == "ready");
  CHECK(nodes.seen("n1", "n2").incarnation == Incarnation(23));
  CHECK(nodes.seen("n2", "n1").incarnation == Incarnation(11));
}

TEST_CASE(
    "peer links: a node of another cluster is told why it is not let in, and so is this one") {
  TwoNodes nodes;
  nodes.start("n2", "n1", 22, "other");
  nodes.start("n1", "n2", 11);
  nodes.stage.advance(kPeerRedialFirst);
  CHECK(nodes.seen("n1", "n2").reason ==
        "it refused this node: it belongs to cluster demo, this is other: give it this cluster's "
        "config");
  CHECK(nodes.seen("n2", "n1").reason ==
        "it was refused: it belongs to cluster demo, this is other: give it this cluster's config");
}

TEST_CASE("peer links: a node that greets under another name than its certificate's is refused") {
  TwoNodes nodes;
  nodes.start("n2", "n1", 22);
  nodes.caller = "n9";  // of the config, but not of n2's
  nodes.start("n1", "n2", 11);
  nodes.stage.advance(kPeerRedialFirst);
  CHECK(nodes.seen("n1", "n2").reason ==
        "it refused this node: node n9 is not in the config of node n2: name it there");
  CHECK(nodes.seen("n2", "n1").state == "stopped");
  CHECK(nodes.seen("n2", "n1").reason == "it has not dialled this node yet");
}

TEST_CASE("peer links: a supervisor that greets over no link between nodes is not heard") {
  TwoNodes nodes;
  nodes.start("n2", "n1", 22);
  nodes.caller = "";
  nodes.start("n1", "n2", 11);
  nodes.stage.advance(1100ms);  // trees are shown each second
  CHECK(nodes.seen("n2", "n1").state == "stopped");
  CHECK(nodes.seen("n2", "n1").reason == "it has not dialled this node yet");
  nodes.caller = "n1";
  nodes.stage.advance(kHandshakeTimeout + kPeerRedialMax + 100ms);
  CHECK(nodes.seen("n2", "n1").state == "ready");
}

}  // namespace peer_links_test
