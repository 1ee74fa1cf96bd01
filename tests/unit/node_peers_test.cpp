#include "cluster/node_peers.h"

#include <doctest/doctest.h>

#include "tests/support/all_of_kind.h"

using namespace troupe;

namespace node_peers_test {
namespace {

Hello hello_of(const std::string& node, uint64_t incarnation) {
  return {"demo", 1, "b1", node, Role::supervisor, node + "/supervisor", Incarnation(incarnation),
          {}};
}

NodeReport report_of(uint64_t incarnation, uint64_t version, GroupState state) {
  NodeReport report{Incarnation(incarnation), version, "ready", {}, {}};
  GroupEndpoint group;
  group.group = GroupId(7);
  group.model = "m";
  group.generation = Generation(3);
  group.state = state;
  group.socket = "/the/other/host/s";
  group.incarnation = Incarnation(70);
  report.groups = {group};
  return report;
}

/// Node `own` with peers n1 and n3, of which n3 heads group 7; it dials those with higher names.
struct Rig {
  explicit Rig(const std::string& own = "n2", double timing_scale = 1)
      : machine(
            {hello_of(own, 1), {{"n1", {}}, {"n3", {{GroupId(7), "m", "/s/dg7"}}}}, timing_scale}) {
    step(peer_in::Start{});
  }
  NodePeers machine;
  std::vector<PeerEffect> effects;
  Time now{10s};

  void step(const PeerInput& input) {
    effects.clear();
    machine.step(now, input, effects);
    machine.check();
  }
  /// nullopt: not joined, or another incarnation is.
  std::optional<PeerLinkId> link_to(const std::string& node, Incarnation incarnation) const {
    for (const NodePeers::Contact& peer : machine.joined())
      if (peer.node == node && peer.incarnation == incarnation) return peer.link;
    return std::nullopt;
  }
  void wait(Duration d) {
    now += d;
    step(peer_in::Tick{});
  }
  void from(const std::string& node, uint64_t incarnation, uint64_t link, Message message) {
    step(peer_in::From{node, Incarnation(incarnation), PeerLinkId(link), std::move(message)});
  }
  template <class E>
  std::vector<E> all() const {
    return test::all_of_kind<E>(effects);
  }
  template <class M>
  std::vector<M> sent(uint64_t link) const {
    std::vector<M> found;
    for (const auto& send : all<peer_out::Send>())
      if (auto* m = std::get_if<M>(&send.message); m && send.link == PeerLinkId(link))
        found.push_back(*m);
    return found;
  }
  std::string event(const std::string& what) const {
    for (const auto& e : all<peer_out::Event>())
      if (e.what == what) return e.detail;
    return {};
  }
  const PeerView view(const std::string& node) const {
    for (const PeerView& v : machine.views())
      if (v.node == node) return v;
    return {};
  }
  GroupEndpoint group() const { return machine.endpoints().at(0); }
  /// n3 is dialled and joins over this link.
  void join_n3(uint64_t incarnation, uint64_t link) {
    step(peer_in::Dialled{"n3", PeerLinkId(link)});
    from("n3", incarnation, link, HelloReply{Incarnation(incarnation), true, ""});
    from("n3", incarnation, link, hello_of("n3", incarnation));
    REQUIRE(all<peer_out::Joined>().size() == 1);
  }
};

}  // namespace

TEST_CASE("node peers: the node with the lower name dials, and only it") {
  Rig rig;
  REQUIRE(rig.all<peer_out::Dial>().size() == 1);
  CHECK(rig.all<peer_out::Dial>()[0].node == "n3");
  rig.wait(1s);
  CHECK(rig.all<peer_out::Dial>().empty());
}

TEST_CASE("node peers: who dials greets first, joins with the answering Hello and says so") {
  Rig rig;
  rig.step(peer_in::Dialled{"n3", PeerLinkId(5)});
  REQUIRE(rig.sent<Hello>(5).size() == 1);
  CHECK(rig.sent<Hello>(5)[0].node == "n2");
  rig.from("n3", 30, 5, HelloReply{Incarnation(30), true, ""});
  CHECK(rig.machine.joined().empty());
  rig.from("n3", 30, 5, hello_of("n3", 30));
  REQUIRE(rig.sent<HelloReply>(5).size() == 1);
  CHECK(rig.sent<HelloReply>(5)[0].accepted);
  CHECK(rig.sent<Hello>(5).empty());
  REQUIRE(rig.all<peer_out::Watch>().size() == 1);
  CHECK(rig.all<peer_out::Watch>()[0].incarnation == Incarnation(30));
  CHECK(rig.link_to("n3", Incarnation(30)) == PeerLinkId(5));
  CHECK_FALSE(rig.link_to("n3", Incarnation(31)));
}

TEST_CASE("node peers: who is dialled accepts, and greets back") {
  Rig rig;
  rig.from("n1", 10, 4, hello_of("n1", 10));
  REQUIRE(rig.sent<HelloReply>(4).size() == 1);
  CHECK(rig.sent<HelloReply>(4)[0].accepted);
  REQUIRE(rig.sent<Hello>(4).size() == 1);
  CHECK(rig.machine.joined().size() == 1);
}

TEST_CASE("node peers: a foreign node is refused with a reason on both sides") {
  struct Case {
    Hello hello;
    const char* why;
  };
  Hello cluster = hello_of("n1", 10), wire = cluster, build = cluster, nobody = cluster;
  cluster.cluster = "other";
  wire.wire_version = 2;
  build.build = "b2";
  nobody.incarnation = Incarnation(11);
  const Case cases[] = {
      {cluster, "it belongs to cluster other, this is demo: give it this cluster's config"},
      {wire, "it speaks wire version 2, this is 1: run one release of troupe on both"},
      {build, "it is build b2, this is b1: restart both from one build"},
      {nobody, "it speaks for another process: end it"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.why);
    Rig rig;
    rig.from("n1", 10, 4, c.hello);
    REQUIRE(rig.sent<HelloReply>(4).size() == 1);
    CHECK_FALSE(rig.sent<HelloReply>(4)[0].accepted);
    CHECK(rig.sent<HelloReply>(4)[0].reason == c.why);
    CHECK(rig.event("hello refused") == c.why);
    CHECK(rig.view("n1").reason == "it was refused: " + std::string(c.why));
    CHECK(rig.machine.joined().empty());
    CHECK(rig.machine.dropped() == 1);
    // Said once, however often it tries.
    rig.from("n1", 10, 6, c.hello);
    CHECK(rig.event("hello refused").empty());
  }
  Rig rig;
  rig.from("n9", 90, 4, hello_of("n9", 90));
  REQUIRE(rig.sent<HelloReply>(4).size() == 1);
  CHECK(rig.sent<HelloReply>(4)[0].reason ==
        "node n9 is not in the config of node n2: name it there");
}

TEST_CASE("node peers: a node that greets under another name than its link proved is refused") {
  Rig rig;
  const std::string why =
      "it says that it is node n3, and its certificate is of node n1: give each node its own";
  rig.from("n1", 10, 4, hello_of("n3", 10));
  REQUIRE(rig.sent<HelloReply>(4).size() == 1);
  CHECK(rig.sent<HelloReply>(4)[0].reason == why);
  CHECK(rig.event("hello refused") == why);
  CHECK(rig.view("n1").reason == "it was refused: " + why);
  CHECK(rig.view("n3").reason == "it has not been dialled yet");
  CHECK(rig.machine.dropped() == 1);
  CHECK(rig.machine.joined().empty());
}

TEST_CASE("node peers: who is refused says why, and asks again ever more seldom") {
  Rig rig;
  Duration last{};
  for (int i = 0; i < 12; ++i) {
    rig.step(peer_in::Dialled{"n3", PeerLinkId(5)});
    rig.from("n3", 30, 5, HelloReply{Incarnation(30), false, "it is build b1"});
    CHECK(rig.view("n3").reason == "it refused this node: it is build b1");
    REQUIRE(rig.machine.deadline());
    const Duration pause = *rig.machine.deadline() - rig.now;
    CHECK(pause >= last);
    last = pause;
    rig.wait(pause);
    REQUIRE(rig.all<peer_out::Dial>().size() == 1);
  }
  CHECK(last == kPeerRefusedMax);
}

TEST_CASE("node peers: a config that differs is shown and no reason to refuse") {
  Rig rig;
  Hello hello = hello_of("n1", 10);
  hello.config_digest[0] = 9;
  rig.from("n1", 10, 4, hello);
  CHECK(rig.machine.joined().size() == 1);
  CHECK(rig.event("config differs") == "its config is not this node's: give both the same file");
  CHECK(rig.view("n1").config_differs);
}

TEST_CASE("node peers: a broken link is no death; what the node told stands, and it is dialled") {
  Rig rig;
  rig.join_n3(30, 5);
  rig.from("n3", 30, 5, report_of(30, 1, GroupState::ready));
  rig.step(peer_in::Lost{"n3", PeerLinkId(5)});
  CHECK(rig.all<peer_out::Gone>().empty());
  CHECK(rig.group().state == GroupState::ready);
  CHECK(rig.view("n3").reason == "the link to it broke");
  rig.wait(kPeerRedialFirst);
  REQUIRE(rig.all<peer_out::Dial>().size() == 1);
  rig.join_n3(30, 8);
  CHECK(rig.all<peer_out::Joined>()[0].again);
  CHECK(rig.group().state == GroupState::ready);
}

TEST_CASE("node peers: a silent node is suspect, then out: groups, link and streams") {
  Rig rig;
  rig.join_n3(30, 5);
  rig.from("n3", 30, 5, report_of(30, 1, GroupState::ready));
  CHECK(rig.group().socket == "/s/dg7");
  CHECK(rig.group().generation == Generation(3));
  rig.step(peer_in::Judged{"n3", Incarnation(30), Verdict::suspect});
  CHECK(rig.group().state == GroupState::suspect);
  CHECK(rig.group().incarnation == Incarnation(70));
  CHECK(rig.view("n3").state == "suspect");
  rig.step(peer_in::Judged{"n3", Incarnation(30), Verdict::dead});
  REQUIRE(rig.all<peer_out::Cut>().size() == 1);
  REQUIRE(rig.all<peer_out::Gone>().size() == 1);
  CHECK(rig.all<peer_out::Gone>()[0].incarnation == Incarnation(30));
  CHECK(rig.group().state == GroupState::stopped);
  CHECK(rig.group().incarnation == Incarnation());
  CHECK(rig.group().reason == "node n3 is not in the cluster: it was silent");
  CHECK(rig.view("n3").state == "stopped");
  // Its last words come too late.
  const uint64_t dropped = rig.machine.dropped();
  rig.from("n3", 30, 5, report_of(30, 2, GroupState::ready));
  CHECK(rig.machine.dropped() == dropped + 1);
  CHECK(rig.group().state == GroupState::stopped);
  // The same process is in again by a new Hello: the way to it was cut, not its life.
  rig.wait(kPeerRedialFirst);
  rig.join_n3(30, 9);
  rig.from("n3", 30, 9, report_of(30, 3, GroupState::ready));
  CHECK(rig.group().state == GroupState::ready);
}

TEST_CASE("node peers: a node started anew is another one, and nothing of its former life counts") {
  Rig rig;
  rig.join_n3(30, 5);
  rig.from("n3", 30, 5, report_of(30, 8, GroupState::ready));
  rig.step(peer_in::Lost{"n3", PeerLinkId(5)});
  rig.wait(kPeerRedialFirst);
  rig.join_n3(31, 6);
  REQUIRE(rig.all<peer_out::Gone>().size() == 1);
  CHECK(rig.all<peer_out::Gone>()[0].incarnation == Incarnation(30));
  CHECK_FALSE(rig.all<peer_out::Joined>()[0].again);
  CHECK(rig.group().state == GroupState::starting);
  CHECK(rig.group().reason == "node n3 has not told of its groups yet");
  rig.from("n3", 30, 6, report_of(30, 9, GroupState::ready));
  rig.step(peer_in::Judged{"n3", Incarnation(30), Verdict::dead});
  CHECK(rig.machine.joined().size() == 1);
  CHECK(rig.group().state == GroupState::starting);
  CHECK(rig.machine.dropped() == 1);
  rig.from("n3", 31, 6, report_of(31, 1, GroupState::ready));
  CHECK(rig.group().state == GroupState::ready);
}

TEST_CASE("node peers: while a process of a node is linked, another of its name is refused") {
  Rig rig;
  rig.from("n1", 10, 4, hello_of("n1", 10));
  rig.from("n1", 11, 5, hello_of("n1", 11));
  CHECK(rig.sent<HelloReply>(5).at(0).reason ==
        "another process of node n1 is in: end one of them");
  CHECK(rig.link_to("n1", Incarnation(10)) == PeerLinkId(4));
  rig.step(peer_in::Lost{"n1", PeerLinkId(4)});
  rig.from("n1", 11, 6, hello_of("n1", 11));
  CHECK(rig.link_to("n1", Incarnation(11)) == PeerLinkId(6));
}

TEST_CASE(
    "node peers: of two links to one process the newer counts; the loss of the older is none") {
  Rig rig;
  rig.from("n1", 10, 4, hello_of("n1", 10));
  rig.from("n1", 10, 5, hello_of("n1", 10));
  REQUIRE(rig.all<peer_out::Drop>().size() == 1);
  CHECK(rig.all<peer_out::Drop>()[0].link == PeerLinkId(4));
  rig.step(peer_in::Lost{"n1", PeerLinkId(4)});
  CHECK(rig.machine.joined().size() == 1);
  rig.from("n1", 10, 4, NodeReport{Incarnation(10), 1, "ready", {}, {}});
  CHECK(rig.machine.dropped() == 1);
  CHECK(rig.view("n1").state == "starting");
}

TEST_CASE("node peers: reports count by version, and each is a beat") {
  Rig rig;
  rig.join_n3(30, 5);
  rig.from("n3", 30, 5, report_of(30, 2, GroupState::ready));
  REQUIRE(rig.all<peer_out::Beat>().size() == 1);
  CHECK(rig.all<peer_out::Beat>()[0].incarnation == Incarnation(30));
  rig.from("n3", 30, 5, report_of(30, 1, GroupState::starting));
  rig.from("n3", 30, 5, report_of(30, 2, GroupState::starting));
  CHECK(rig.all<peer_out::Beat>().empty());
  CHECK(rig.machine.dropped() == 2);
  CHECK(rig.group().state == GroupState::ready);
}

TEST_CASE("node peers: a node whose reports stay away is suspect, though its beats go on") {
  Rig rig;
  rig.join_n3(30, 5);
  rig.from("n3", 30, 5, report_of(30, 1, GroupState::ready));
  REQUIRE(rig.machine.deadline());
  CHECK(*rig.machine.deadline() == rig.now + kNodeReportStale);
  rig.wait(kNodeReportStale - 1ms);
  CHECK(rig.group().state == GroupState::ready);
  CHECK(rig.view("n3").reason.empty());
  rig.wait(1ms);
  CHECK(rig.event("report late") == "its last report is over 1 s old");
  CHECK(rig.all<peer_out::Changed>().size() == 1);
  CHECK(rig.group().state == GroupState::suspect);
  CHECK(rig.group().incarnation == Incarnation(70));  // what runs there is not given up
  CHECK(rig.group().reason == "node n3 may hang: its last report is over 1 s old");
  CHECK(rig.view("n3").state == "suspect");
  CHECK(rig.view("n3").reason ==
        "it may hang: its last report is over 1 s old while its beats go on");
  CHECK(rig.all<peer_out::Gone>().empty());
  // How old is said in steps, so that nobody is told each moment.
  rig.wait(999ms);
  CHECK(rig.all<peer_out::Changed>().empty());
  rig.wait(1ms);
  CHECK(rig.all<peer_out::Changed>().size() == 1);
  CHECK(rig.event("report late").empty());
  CHECK(rig.group().reason == "node n3 may hang: its last report is over 2 s old");
  rig.wait(2s);
  CHECK(rig.group().reason == "node n3 may hang: its last report is over 4 s old");
  rig.from("n3", 30, 5, report_of(30, 2, GroupState::ready));
  CHECK(rig.group().state == GroupState::ready);
  CHECK(rig.view("n3").state == "ready");
  CHECK(rig.view("n3").reason.empty());
  CHECK(rig.event("report late") == "it reports again");
}

TEST_CASE("node peers: an old word stands over a broken link and a new one, until news come") {
  Rig rig;
  rig.join_n3(30, 5);
  rig.from("n3", 30, 5, report_of(30, 1, GroupState::ready));
  rig.step(peer_in::Lost{"n3", PeerLinkId(5)});
  rig.wait(kPeerRedialFirst);
  rig.join_n3(30, 8);
  rig.wait(kNodeReportStale - kPeerRedialFirst);
  CHECK(rig.group().state == GroupState::suspect);
  rig.step(peer_in::Lost{"n3", PeerLinkId(8)});
  CHECK(rig.view("n3").state == "suspect");
  CHECK(rig.view("n3").reason ==
        "the link to it broke: its last report is over 1 s old while its beats go on");
}

TEST_CASE("node peers: a node that joined and tells nothing is suspect as well") {
  Rig rig;
  rig.join_n3(30, 5);
  rig.wait(kNodeReportStale);
  CHECK(rig.view("n3").state == "suspect");
  CHECK(rig.group().state == GroupState::starting);
}

TEST_CASE("node peers: slow machines have more time for their reports") {
  Rig rig("n2", 5);
  rig.join_n3(30, 5);
  rig.from("n3", 30, 5, report_of(30, 1, GroupState::ready));
  rig.wait(5 * kNodeReportStale - 1ms);
  CHECK(rig.group().state == GroupState::ready);
  rig.wait(1ms);
  CHECK(rig.group().state == GroupState::suspect);
}

TEST_CASE("node peers: and for their greetings") {
  Rig rig("n2", 5);
  rig.step(peer_in::Dialled{"n3", PeerLinkId(5)});
  rig.wait(5 * kHandshakeTimeout - 1ms);
  CHECK(rig.all<peer_out::Drop>().empty());
  rig.wait(1ms);
  CHECK(rig.view("n3").reason == "it did not answer in time");
}

TEST_CASE("node peers: who hears no other node says so, and doubts itself if all fell at once") {
  Rig rig;
  const std::string alone =
      "this node hears no other node of its config: check its network, and whether they run";
  CHECK(rig.machine.remark() == alone);
  rig.join_n3(30, 5);
  rig.from("n1", 10, 4, hello_of("n1", 10));
  CHECK(rig.machine.remark().empty());
  rig.step(peer_in::Judged{"n1", Incarnation(10), Verdict::suspect});
  rig.step(peer_in::Judged{"n3", Incarnation(30), Verdict::suspect});
  CHECK(rig.machine.cut_off());
  // Verdicts count all the same: its own streams move away from who vanished.
  rig.step(peer_in::Judged{"n3", Incarnation(30), Verdict::dead});
  CHECK(rig.all<peer_out::Cut>().size() == 1);
  CHECK(rig.group().state == GroupState::stopped);
  CHECK(rig.machine.cut_off());
  rig.step(peer_in::Judged{"n1", Incarnation(10), Verdict::alive});
  CHECK_FALSE(rig.machine.cut_off());
  // One that said that it would go is no reason for doubt.
  rig.wait(kPeerRedialFirst);
  rig.join_n3(31, 6);
  NodeReport leaving = report_of(31, 1, GroupState::draining);
  leaving.state = "draining";
  rig.from("n3", 31, 6, leaving);
  rig.step(peer_in::Judged{"n3", Incarnation(31), Verdict::suspect});
  rig.step(peer_in::Judged{"n1", Incarnation(10), Verdict::suspect});
  CHECK_FALSE(rig.machine.cut_off());
  CHECK(rig.machine.remark() == alone);
}

TEST_CASE("node peers: a node that says that it may be cut off is shown so") {
  Rig rig;
  rig.join_n3(30, 5);
  NodeReport report = report_of(30, 1, GroupState::ready);
  report.state = "suspect";
  rig.from("n3", 30, 5, report);
  CHECK(rig.view("n3").state == "suspect");
  CHECK(rig.view("n3").reason == "it says that it may be cut off");
  CHECK(rig.group().state == GroupState::ready);
}

TEST_CASE("node peers: who slept itself hears first what was said meanwhile") {
  Rig rig;
  rig.join_n3(30, 5);
  rig.from("n3", 30, 5, report_of(30, 1, GroupState::ready));
  rig.now += 500ms;
  rig.step(peer_in::Tick{});
  rig.wait(10s);
  CHECK(rig.group().state == GroupState::ready);
  rig.wait(*rig.machine.deadline() - rig.now);
  CHECK(rig.group().state == GroupState::suspect);
  // However late its timers are, an old word is found out.
  rig.from("n3", 30, 5, report_of(30, 2, GroupState::ready));
  for (int i = 0; i < 4; ++i) rig.wait(1200ms);
  CHECK(rig.group().state == GroupState::suspect);
}

TEST_CASE("node peers: a node that never came shows why, and its groups are out") {
  Rig rig;
  CHECK(rig.view("n1").state == "stopped");
  CHECK(rig.view("n1").reason == "it has not dialled this node yet");
  CHECK(rig.group().state == GroupState::stopped);
  rig.step(peer_in::Dialled{"n3", PeerLinkId()});
  CHECK(rig.view("n3").reason == "it does not answer");
  CHECK(rig.group().reason == "node n3 is not in the cluster: it does not answer");
  // Tried for ever, at most a second apart.
  for (int i = 0; i < 8; ++i) {
    rig.wait(*rig.machine.deadline() - rig.now);
    rig.step(peer_in::Dialled{"n3", PeerLinkId()});
  }
  CHECK(*rig.machine.deadline() - rig.now == kPeerRedialMax);
}

TEST_CASE("node peers: a Hello that does not come is given up, and a dial that ends late dropped") {
  Rig rig;
  rig.step(peer_in::Dialled{"n3", PeerLinkId(5)});
  rig.wait(kHandshakeTimeout);
  CHECK(rig.view("n3").reason == "it did not answer in time");
  REQUIRE(rig.all<peer_out::Drop>().size() == 1);
  CHECK(rig.all<peer_out::Drop>()[0].link == PeerLinkId(5));
  rig.step(peer_in::Dialled{"n3", PeerLinkId(6)});
  REQUIRE(rig.all<peer_out::Drop>().size() == 1);
  CHECK(rig.all<peer_out::Drop>()[0].link == PeerLinkId(6));
}

TEST_CASE("node peers: a group that the other node does not have is said, whatever its config") {
  Rig rig;
  rig.join_n3(30, 5);
  NodeReport report = report_of(30, 1, GroupState::ready);
  report.groups[0].model = "another";
  rig.from("n3", 30, 5, report);
  CHECK(rig.group().state == GroupState::stopped);
  CHECK(rig.group().reason == "node n3 has no group 7 of model m: give all nodes one config");
}

TEST_CASE("node peers: what is said beyond reports goes on to who understands it") {
  Rig rig;
  rig.from("n1", 10, 4, AbortOrder{});
  CHECK(rig.all<peer_out::Deliver>().empty());
  rig.from("n1", 10, 4, hello_of("n1", 10));
  rig.from("n1", 10, 4, AbortOrder{GroupId(2), Generation(5)});
  REQUIRE(rig.all<peer_out::Deliver>().size() == 1);
  CHECK(rig.all<peer_out::Deliver>()[0].incarnation == Incarnation(10));
}

}  // namespace node_peers_test
