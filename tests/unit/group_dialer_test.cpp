#include "cluster/group_dialer.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "config/digest.h"
#include "tests/support/all_of_kind.h"

using namespace troupe;

namespace group_dialer_test {
namespace {

struct Rig {
  explicit Rig(double timing_scale = 1) : machine(timing_scale) {}
  GroupDialer machine;
  std::vector<DialerEffect> effects;  ///< of the last step
  Time now{};
  uint64_t version = 0;
  std::vector<std::byte> sent;  ///< of a bundle
  bool damaged = false;         ///< on the way

  void step(const DialerInput& input) {
    effects.clear();
    machine.step(now, input, effects);
    machine.check();
  }
  void wait(Duration d) {
    now += d;
    step(dialer_in::Tick{});
  }
  template <class Effect>
  std::vector<Effect> all() const {
    return test::all_of_kind<Effect>(effects);
  }
  static GroupEndpoint endpoint(uint32_t group, uint64_t i, GroupState state = GroupState::ready) {
    GroupEndpoint e;
    e.group = GroupId(group);
    e.model = "m";
    e.incarnation = Incarnation(i);
    e.state = state;
    e.socket = "/run/g" + std::to_string(group);
    e.weights_id[0] = 5;
    return e;
  }
  void table(std::vector<GroupEndpoint> groups) {
    step(dialer_in::Routing{{Incarnation(1), ++version, std::move(groups)}});
  }
  void dialled(uint64_t i, bool ok = true) {
    step(dialer_in::Dialled{GroupId(0), Incarnation(i), ok});
  }
  void greeted(uint64_t i, bool accepted = true, const std::string& why = {}) {
    step(dialer_in::Greeted{GroupId(0), Incarnation(i), {Incarnation(i), accepted, why}});
  }
  void chunk(uint64_t i, uint64_t offset, uint64_t size, uint64_t total) {
    BundleChunk c;
    c.group = GroupId(0);
    c.offset = offset;
    c.total = total;
    c.bytes.assign(size, static_cast<std::byte>(offset));
    if (offset == 0) sent.clear();
    sent.insert(sent.end(), c.bytes.begin(), c.bytes.end());
    c.digest = sha256(sent);
    if (damaged) c.bytes[0] ^= std::byte{1};
    step(dialer_in::Chunk{GroupId(0), Incarnation(i), std::move(c)});
  }
  void served(uint64_t i) { step(dialer_in::BundleServed{GroupId(0), Incarnation(i)}); }
  /// Links group 0, incarnation 7, with a bundle of 10 bytes.
  void link() {
    table({endpoint(0, 7)});
    dialled(7);
    greeted(7);
    chunk(7, 0, 10, 10);
    served(7);
    REQUIRE(all<dialer_out::LinkUp>().size() == 1);
  }
  std::string event() const {
    return all<dialer_out::Event>().empty() ? "" : all<dialer_out::Event>()[0].text;
  }
};

}  // namespace

TEST_CASE("group dialer: it dials, greets, fetches the bundle chunk by chunk and then has a link") {
  Rig rig;
  rig.table({Rig::endpoint(0, 7), Rig::endpoint(1, 8, GroupState::starting)});
  REQUIRE(rig.all<dialer_out::Dial>().size() == 1);
  CHECK(rig.all<dialer_out::Dial>()[0].socket == "/run/g0");
  CHECK(rig.machine.dialling(GroupId(0), Incarnation(7)));
  CHECK(!rig.machine.dialling(GroupId(0), Incarnation(6)));
  CHECK(!rig.machine.dialling(GroupId(1), Incarnation(8)));
  rig.dialled(7);
  CHECK(rig.all<dialer_out::SendHello>().size() == 1);
  CHECK(!rig.machine.dialling(GroupId(0), Incarnation(7)));
  rig.greeted(7);
  REQUIRE(rig.all<dialer_out::SendBundleRequest>().size() == 1);
  CHECK(rig.all<dialer_out::SendBundleRequest>()[0].request.offset == 0);
  rig.chunk(7, 0, 6, 10);
  REQUIRE(rig.all<dialer_out::SendBundleRequest>().size() == 1);
  CHECK(rig.all<dialer_out::SendBundleRequest>()[0].request.offset == 6);
  CHECK(rig.all<dialer_out::LinkUp>().empty());
  rig.chunk(7, 0, 6, 10);
  CHECK(rig.effects.empty());  // said twice
  rig.chunk(7, 6, 4, 10);
  REQUIRE(rig.all<dialer_out::Bundle>().size() == 1);
  const dialer_out::Bundle bundle = rig.all<dialer_out::Bundle>()[0];
  CHECK(bundle.bytes.size() == 10);
  CHECK(bundle.bytes[5] == std::byte{0});
  CHECK(bundle.bytes[6] == std::byte{6});
  CHECK(bundle.digest == sha256(bundle.bytes));
  CHECK(rig.all<dialer_out::LinkUp>().empty());
  rig.served(7);
  CHECK(rig.all<dialer_out::LinkUp>().size() == 1);
  CHECK(!rig.machine.deadline());
}

TEST_CASE("group dialer: the bundle of weights it has is not fetched again") {
  Rig rig;
  rig.link();
  rig.table({Rig::endpoint(0, 9)});
  REQUIRE(rig.all<dialer_out::LinkDown>().size() == 1);
  CHECK(rig.all<dialer_out::LinkDown>()[0].incarnation == Incarnation(7));
  CHECK(rig.all<dialer_out::Close>().size() == 1);
  CHECK(rig.all<dialer_out::Dial>().size() == 1);
  rig.dialled(9);
  rig.greeted(9);
  CHECK(rig.all<dialer_out::SendBundleRequest>().empty());
  CHECK(rig.all<dialer_out::LinkUp>().size() == 1);
  GroupEndpoint other = Rig::endpoint(0, 10);
  other.weights_id[0] = 6;
  rig.table({other});
  rig.dialled(10);
  rig.greeted(10);
  CHECK(rig.all<dialer_out::SendBundleRequest>().size() == 1);
}

TEST_CASE(
    "group dialer: a group that is suspect or draining keeps its link, one that is not does not") {
  Rig rig;
  rig.link();
  for (GroupState state : {GroupState::suspect, GroupState::draining, GroupState::ready}) {
    rig.table({Rig::endpoint(0, 7, state)});
    CHECK(rig.effects.empty());
  }
  SUBCASE("starting") { rig.table({Rig::endpoint(0, 7, GroupState::starting)}); }
  SUBCASE("failed") { rig.table({Rig::endpoint(0, 7, GroupState::failed)}); }
  SUBCASE("stopped") { rig.table({Rig::endpoint(0, 7, GroupState::stopped)}); }
  SUBCASE("not listed") { rig.table({}); }
  CHECK(rig.all<dialer_out::LinkDown>().size() == 1);
  CHECK(rig.all<dialer_out::Close>().size() == 1);
  CHECK(!rig.machine.deadline());
}

TEST_CASE(
    "group dialer: a failure is tried again, doubling the wait, and a link makes it short again") {
  Rig rig;
  rig.table({Rig::endpoint(0, 7)});
  Duration wait = 100ms;
  for (int failure = 0; failure < 9; ++failure) {
    rig.dialled(7, false);
    CHECK(rig.event() == "the link to group 0 failed: nobody listens");
    CHECK(rig.machine.deadline() == rig.now + wait);
    rig.wait(wait - 1ns);
    CHECK(rig.all<dialer_out::Dial>().empty());
    rig.wait(1ns);
    CHECK(rig.all<dialer_out::Dial>().size() == 1);
    wait = std::min<Duration>(wait * 2, 10s);
  }
  rig.dialled(7);
  rig.greeted(7);
  rig.chunk(7, 0, 1, 1);
  rig.served(7);
  rig.step(dialer_in::Lost{GroupId(0), Incarnation(7)});
  CHECK(rig.all<dialer_out::LinkDown>().size() == 1);
  CHECK(rig.machine.deadline() == rig.now + 100ms);
}

TEST_CASE("group dialer: each stage of a link has 3 s and then starts over") {
  Rig rig;
  rig.table({Rig::endpoint(0, 7)});
  SUBCASE("dial") {}
  SUBCASE("greeting") { rig.dialled(7); }
  SUBCASE("opening") {
    rig.dialled(7);
    rig.greeted(7);
    rig.chunk(7, 0, 10, 10);
  }
  SUBCASE("bundle") {
    rig.dialled(7);
    rig.greeted(7);
    rig.wait(2s);
    rig.chunk(7, 0, 1, 10);  // each chunk has its own
  }
  CHECK(rig.machine.deadline() == rig.now + 3s);
  rig.wait(3s);
  CHECK(rig.event() == "the link to group 0 failed: it did not answer in time");
  CHECK(rig.all<dialer_out::Close>().size() == 1);
  CHECK(rig.all<dialer_out::LinkDown>().empty());
  CHECK(rig.machine.deadline() == rig.now + 100ms);
  rig.wait(100ms);
  rig.dialled(7);
  rig.greeted(7);
  CHECK(rig.all<dialer_out::SendBundleRequest>()[0].request.offset == 0);
}

TEST_CASE(
    "group dialer: a refusal, another process or a bundle out of order ends the try with the "
    "reason") {
  Rig rig;
  rig.table({Rig::endpoint(0, 7)});
  rig.dialled(7);
  std::string why;
  SUBCASE("refused") {
    rig.greeted(7, false, "it is build b2, this is b1");
    why = "it is build b2, this is b1";
  }
  SUBCASE("another process") {
    rig.step(dialer_in::Greeted{GroupId(0), Incarnation(7), {Incarnation(9), true, ""}});
    why = "another process answers at its socket";
  }
  SUBCASE("chunks") {
    rig.greeted(7);
    SUBCASE("with a gap") { rig.chunk(7, 5, 5, 10); }
    SUBCASE("beyond its end") { rig.chunk(7, 0, 11, 10); }
    SUBCASE("empty") { rig.chunk(7, 0, 0, 10); }
    SUBCASE("too large") { rig.chunk(7, 0, 1, kBundleBytesMax + 1); }
    SUBCASE("of another size") {
      rig.chunk(7, 0, 5, 10);
      rig.chunk(7, 5, 5, 11);
    }
    why = "its model bundle came out of order";
  }
  CHECK(rig.event() == "the link to group 0 failed: " + why);
  CHECK(rig.all<dialer_out::Close>().size() == 1);
  CHECK(rig.all<dialer_out::LinkUp>().empty());
}

TEST_CASE("group dialer: what comes from another incarnation or at the wrong time is ignored") {
  Rig rig;
  rig.table({Rig::endpoint(0, 7)});
  rig.greeted(7);
  CHECK(rig.effects.empty());
  rig.chunk(7, 0, 10, 10);
  CHECK(rig.effects.empty());
  for (uint64_t other : {6u, 8u}) {
    rig.dialled(other);
    CHECK(rig.effects.empty());
    rig.step(dialer_in::Lost{GroupId(0), Incarnation(other)});
    CHECK(rig.effects.empty());
  }
  rig.dialled(7);
  rig.greeted(6);
  CHECK(rig.effects.empty());
  rig.greeted(7);
  rig.chunk(6, 0, 10, 10);
  CHECK(rig.effects.empty());
  rig.served(7);
  CHECK(rig.effects.empty());
  rig.chunk(7, 0, 10, 10);
  CHECK(rig.all<dialer_out::Bundle>().size() == 1);
  rig.served(6);
  CHECK(rig.effects.empty());
  rig.served(7);
  CHECK(rig.all<dialer_out::LinkUp>().size() == 1);
  rig.dialled(7, false);
  rig.greeted(7, false, "late");
  rig.served(7);
  CHECK(rig.effects.empty());
  rig.step(dialer_in::BundleRefused{GroupId(0), Incarnation(7), "late"});
  rig.chunk(7, 0, 10, 10);
  CHECK(rig.effects.empty());
}

TEST_CASE("group dialer: an older table of the same node is ignored, any of a new node counts") {
  Rig rig;
  rig.table({});
  rig.table({Rig::endpoint(0, 7)});
  rig.step(dialer_in::Routing{{Incarnation(1), 1, {}}});
  CHECK(rig.effects.empty());
  rig.step(dialer_in::Routing{{Incarnation(2), 1, {}}});
  CHECK(rig.all<dialer_out::Close>().size() == 1);
}

TEST_CASE(
    "group dialer: a bundle that can't be used is fetched anew, each time after a longer wait") {
  Rig rig;
  rig.table({Rig::endpoint(0, 7)});
  Duration wait = 100ms;
  for (int refusal = 0; refusal < 4; ++refusal) {
    rig.damaged = refusal == 2;
    rig.dialled(7);
    rig.greeted(7);
    CHECK(rig.all<dialer_out::SendBundleRequest>().size() == 1);
    rig.chunk(7, 0, 10, 10);
    CHECK(rig.all<dialer_out::Bundle>().size() == (rig.damaged ? 0 : 1));
    if (!rig.damaged)
      rig.step(dialer_in::BundleRefused{GroupId(0), Incarnation(7), "its template is odd"});
    CHECK(rig.event() ==
          "the link to group 0 failed: the bundle of model m is of no use: " +
              std::string(rig.damaged ? "it was damaged on the way" : "its template is odd"));
    CHECK(rig.all<dialer_out::LinkUp>().empty());
    CHECK(rig.all<dialer_out::Close>().size() == 1);
    CHECK(rig.machine.deadline() == rig.now + wait);
    rig.wait(wait);
    wait *= 2;
  }
  // Once it is of use, a later failure is a first one.
  rig.damaged = false;
  rig.dialled(7);
  rig.greeted(7);
  rig.chunk(7, 0, 10, 10);
  rig.served(7);
  CHECK(rig.all<dialer_out::LinkUp>().size() == 1);
  rig.step(dialer_in::Lost{GroupId(0), Incarnation(7)});
  CHECK(rig.machine.deadline() == rig.now + 100ms);
}

TEST_CASE("group dialer: another group of a model waits for no bundle once one is served") {
  Rig rig;
  rig.table({Rig::endpoint(0, 7), Rig::endpoint(1, 8)});
  rig.dialled(7);
  rig.greeted(7);
  rig.chunk(7, 0, 10, 10);
  rig.step(dialer_in::Dialled{GroupId(1), Incarnation(8), true});
  SUBCASE("while it is opened") {
    rig.step(dialer_in::Greeted{GroupId(1), Incarnation(8), {Incarnation(8), true, ""}});
    CHECK(rig.all<dialer_out::SendBundleRequest>().size() == 1);
  }
  SUBCASE("served") {
    rig.served(7);
    rig.step(dialer_in::Greeted{GroupId(1), Incarnation(8), {Incarnation(8), true, ""}});
    CHECK(rig.all<dialer_out::SendBundleRequest>().empty());
    CHECK(rig.all<dialer_out::LinkUp>().size() == 1);
  }
}

TEST_CASE(
    "group dialer: a group with another model file than most is not dialled until it has it") {
  Rig rig;
  GroupEndpoint other = Rig::endpoint(0, 7);
  other.weights_id[0] = 6;
  rig.table({other, Rig::endpoint(1, 8), Rig::endpoint(2, 9)});
  const auto dials = rig.all<dialer_out::Dial>();
  REQUIRE(dials.size() == 2);
  CHECK(dials[0].group == GroupId(1));
  CHECK(dials[1].group == GroupId(2));
  rig.wait(1s);
  CHECK(rig.all<dialer_out::Dial>().empty());
  rig.table({Rig::endpoint(0, 17), Rig::endpoint(1, 8), Rig::endpoint(2, 9)});
  REQUIRE(rig.all<dialer_out::Dial>().size() == 1);
  CHECK(rig.all<dialer_out::Dial>()[0].incarnation == Incarnation(17));
}

TEST_CASE(
    "group dialer: a linked group stays when most have another model file, a half-made link does "
    "not") {
  Rig rig;
  rig.link();
  GroupEndpoint first = Rig::endpoint(1, 8), second = Rig::endpoint(2, 9);
  rig.table({Rig::endpoint(0, 7), first});
  rig.step(dialer_in::Dialled{GroupId(1), Incarnation(8), true});
  first.weights_id[0] = 6;
  SUBCASE("linked") {
    second.weights_id[0] = 6;
    rig.table({Rig::endpoint(0, 7), first, second});
    CHECK(rig.all<dialer_out::LinkDown>().empty());
    CHECK(rig.all<dialer_out::Close>().empty());
    // Its process ends: nobody dials it again.
    rig.step(dialer_in::Lost{GroupId(0), Incarnation(7)});
    CHECK(rig.all<dialer_out::LinkDown>().size() == 1);
    rig.wait(20s);
    for (const auto& dial : rig.all<dialer_out::Dial>()) CHECK(dial.group != GroupId(0));
  }
  SUBCASE("half-made") {
    rig.table({Rig::endpoint(0, 7), first});
    REQUIRE(rig.all<dialer_out::Close>().size() == 1);
    CHECK(rig.all<dialer_out::Close>()[0].group == GroupId(1));
    CHECK(rig.event().find("another one than most groups have") != std::string::npos);
    rig.wait(20s);
    CHECK(rig.all<dialer_out::Dial>().empty());
  }
}

TEST_CASE("group dialer: on a slow machine each answer may take longer") {
  Rig rig(4);
  rig.table({Rig::endpoint(0, 7)});
  rig.dialled(7);
  rig.wait(4 * kHandshakeTimeout - 1ms);
  CHECK(rig.all<dialer_out::Close>().empty());
  rig.wait(1ms);
  CHECK(rig.all<dialer_out::Close>().size() == 1);
}

}  // namespace group_dialer_test
