// Beats between node processes, over real sockets and through two links.
#include "net/node_beats.h"

#include <doctest/doctest.h>

#include <map>
#include <mutex>

#include "tests/link/link_fixture.h"

namespace troupe::testing {
namespace node_beats_test {
namespace {

/// Who was heard how often.
class Ears {
 public:
  std::function<void(const NodeBeat&)> callback() {
    return [this](const NodeBeat& beat) {
      const std::lock_guard lock(mutex_);
      ++heard_[{beat.node, beat.incarnation.value}];
    };
  }
  uint64_t count(const std::string& node, uint64_t incarnation) const {
    const std::lock_guard lock(mutex_);
    const auto at = heard_.find({node, incarnation});
    return at == heard_.end() ? 0 : at->second;
  }
  size_t voices() const {
    const std::lock_guard lock(mutex_);
    return heard_.size();
  }
  /// Until it was heard `more` times more.
  bool hears(const std::string& node, uint64_t incarnation, uint64_t more = 2) const {
    const uint64_t before = count(node, incarnation);
    return wait_until([&] { return count(node, incarnation) >= before + more; });
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, uint64_t>, uint64_t> heard_;
};

std::unique_ptr<NodeBeats> beats_of(NodeBeat own, BeatWays ways, Ears& ears,
                                    Duration silence_max = kDeadAfter) {
  auto beats = NodeBeats::start({std::move(own), std::move(ways), silence_max, ears.callback()});
  REQUIRE_MESSAGE(beats.has_value(), (beats ? std::string() : beats.error().message));
  return std::move(*beats);
}

std::string frame_of(const std::string& node, uint64_t incarnation) {
  const auto frame = encode_beat({node, Incarnation(incarnation)});
  return {frame.begin(), frame.end()};
}

/// n2's beats, with n1 and n0 as callers: the test itself calls.
struct Called {
  TempDir dir;
  Ears ears;
  std::unique_ptr<NodeBeats> beats;
  explicit Called(Duration silence_max = kDeadAfter)
      : beats(beats_of({"n2", Incarnation(22)}, {dir / "b", {}, {"n0", "n1"}}, ears, silence_max)) {
  }
  Socket call() const {
    Socket caller = Socket::to_unix(dir / "b");
    REQUIRE(caller.connected());
    return caller;
  }
  /// Reads what n2 says until it hangs up.
  static bool hung_up(const Socket& caller) {
    while (!caller.read(kBeatFrameBytes).empty()) {
    }
    return true;
  }
};

}  // namespace

TEST_CASE("beats: two nodes hear each other over one connection that the lower one dials") {
  TempDir dir;
  Ears ears1, ears2;
  auto n1 = beats_of({"n1", Incarnation(11)}, {dir / "b1", {{"n2", dir / "b2"}}, {}}, ears1);
  auto n2 = beats_of({"n2", Incarnation(22)}, {dir / "b2", {}, {"n1"}}, ears2);
  CHECK(ears1.hears("n2", 22, 5));
  CHECK(ears2.hears("n1", 11, 5));
  CHECK(ears1.voices() == 1);
  CHECK(ears2.voices() == 1);
  CHECK(wait_until([&] { return n1->stats().open == 1 && n2->stats().open == 1; }));
  CHECK(n1->stats().sent >= 5);
  CHECK(n2->stats().heard >= 5);
}

TEST_CASE("beats: a node that starts later, or anew, is heard under its own incarnation") {
  TempDir dir;
  Ears ears1, ears2;
  auto n1 = beats_of({"n1", Incarnation(11)}, {dir / "b1", {{"n2", dir / "b2"}}, {}}, ears1);
  for (const uint64_t life : {22, 23, 24}) {
    auto n2 = beats_of({"n2", Incarnation(life)}, {dir / "b2", {}, {"n1"}}, ears2);
    CHECK(ears1.hears("n2", life));
    CHECK(ears2.hears("n1", 11));
  }
  CHECK(wait_until([&] { return n1->stats().open == 0; }));
  CHECK(ears1.voices() == 3);
  CHECK(n1->stats().refused == 0);
}

TEST_CASE("beats: the link carries them, and a link that is killed only interrupts them") {
  TwoLinks links;
  Ears ears1, ears2;
  auto n1 = beats_of({"n1", Incarnation(11)}, {links.dir / "b1", {{"n2", links.door("beats")}}, {}},
                     ears1);
  auto n2 = beats_of({"n2", Incarnation(22)}, {links.beats_path(), {}, {"n1"}}, ears2);
  CHECK(ears1.hears("n2", 22, 5));
  CHECK(ears2.hears("n1", 11, 5));
  links.n2.reset();
  CHECK(wait_until([&] { return n2->stats().open == 0; }));
  links.start_n2();
  CHECK(ears1.hears("n2", 22));
  CHECK(ears2.hears("n1", 11));
  links.n1.reset();
  CHECK(wait_until([&] { return n1->stats().open == 0; }));
  links.start_n1();
  CHECK(ears1.hears("n2", 22));
  // A dead verdict closes what there is; a node that is alive is heard again.
  const uint64_t dialled = links.n1->stats().dialled;
  links.n1->cut("n2");
  CHECK(wait_until([&] { return links.n1->stats().dialled > dialled; }));
  CHECK(ears1.hears("n2", 22));
  CHECK(n1->stats().refused + n2->stats().refused == 0);
}

TEST_CASE("beats: a node that speaks for another one is refused, by what its certificate proves") {
  TwoLinks links;
  Ears ears1, ears2;
  // n1's link, with n1's certificate; its node process says that it is n0.
  auto liar = beats_of({"n0", Incarnation(10)},
                       {links.dir / "b1", {{"n2", links.door("beats")}}, {}}, ears1);
  std::vector<std::string> refused;
  std::mutex mutex;
  NodeBeatsConfig config{{"n2", Incarnation(22)},
                         {links.beats_path(), {}, {"n0", "n1"}},
                         kDeadAfter,
                         ears2.callback(),
                         [&](const std::string& why) {
                           const std::lock_guard lock(mutex);
                           refused.push_back(why);
                         }};
  auto n2 = NodeBeats::start(std::move(config));
  REQUIRE(n2.has_value());
  CHECK(wait_until([&] { return (*n2)->stats().refused >= 3; }));
  CHECK(ears2.voices() == 0);
  {
    const std::lock_guard lock(mutex);
    CHECK(refused == std::vector<std::string>{"a connection of node n1 brought beats of process "
                                              "000000000000000a of node n0"});
  }
  liar.reset();
  auto honest = beats_of({"n1", Incarnation(11)},
                         {links.dir / "b1", {{"n2", links.door("beats")}}, {}}, ears1);
  CHECK(ears2.hears("n1", 11));
  CHECK(ears2.voices() == 1);
}

TEST_CASE("beats: a node that calls although it is to be dialled is refused") {
  TwoLinks links;
  Ears ears1, ears2;
  auto n1 = beats_of({"n1", Incarnation(11)}, {links.dir / "b1", {{"n2", links.door("beats")}}, {}},
                     ears1);
  auto n2 = beats_of({"n2", Incarnation(22)}, {links.beats_path(), {}, {"n0"}}, ears2);
  CHECK(wait_until([&] { return n2->stats().refused >= 2; }));
  CHECK(ears2.voices() == 0);
}

TEST_CASE("beats: a caller that sends anything else is cut off and not heard") {
  Called n2;
  auto refused = [&](const std::string& bytes) {
    const uint64_t before = n2.beats->stats().refused;
    Socket caller = n2.call();
    REQUIRE(caller.send(bytes));
    CHECK(Called::hung_up(caller));
    return wait_until([&] { return n2.beats->stats().refused == before + 1; });
  };
  std::string bad_magic = frame_of("n1", 11);
  bad_magic[0] = 'X';
  CHECK(refused(bad_magic));
  CHECK(refused(std::string(200, '\0')));
  CHECK(refused("GET /metrics HTTP/1.1\r\n" + std::string(80, 'x')));
  CHECK(refused(frame_of("n3", 33)));  // would be dialed, never calls
  CHECK(refused(frame_of("n2", 22)));  // this node itself
  CHECK(refused("x" + frame_of("n1", 11)));
  CHECK(n2.ears.voices() == 0);
  // A connection speaks for one process of one node.
  CHECK(refused(frame_of("n1", 11) + frame_of("n0", 10)));
  CHECK(refused(frame_of("n1", 11) + frame_of("n1", 12)));
  CHECK(n2.ears.count("n1", 11) == 2);
  CHECK(n2.ears.count("n0", 10) + n2.ears.count("n1", 12) == 0);
  // A frame in two parts is a frame.
  Socket good = n2.call();
  const std::string frame = frame_of("n0", 10);
  REQUIRE(good.send(frame.substr(0, 33)));
  REQUIRE(good.send(frame.substr(33)));
  CHECK(wait_until([&] { return n2.ears.count("n0", 10) == 1; }));
}

TEST_CASE("beats: who answers at a door must be the node behind it") {
  TempDir dir;
  Ears ears;
  Target door(dir / "door");
  auto n1 = beats_of({"n1", Incarnation(11)}, {dir / "b", {{"n2", door.path()}}, {}}, ears);
  Socket first = door.accept();
  CHECK(first.read(kBeatFrameBytes) == frame_of("n1", 11));
  REQUIRE(first.send(frame_of("n3", 33)));
  Socket second = door.accept();  // it hangs up and tries again
  REQUIRE(second.send(frame_of("n2", 22)));
  CHECK(wait_until([&] { return ears.count("n2", 22) == 1; }));
  CHECK(ears.voices() == 1);
  CHECK(n1->stats().refused == 1);
}

TEST_CASE("beats: a connection that brings nothing is closed and dialled again") {
  TempDir dir;
  Ears ears;
  Target door(dir / "door");
  auto n1 = beats_of({"n1", Incarnation(11)}, {dir / "b", {{"n2", door.path()}}, {}}, ears, 20ms);
  for (int i = 0; i < 3; ++i) {
    Socket silent = door.accept();
    CHECK(Called::hung_up(silent));
  }
  CHECK(wait_until([&] { return n1->stats().silent >= 3; }));

  Called n2(20ms);
  Socket half = n2.call();
  REQUIRE(half.send(frame_of("n1", 11).substr(0, 40)));
  CHECK(Called::hung_up(half));
  CHECK(wait_until([&] { return n2.beats->stats().silent == 1; }));
  CHECK(n2.ears.voices() == 0);
}

TEST_CASE("beats: callers are bounded, the newest is served, and descriptors come back") {
  const size_t before = open_descriptors();
  {
    Called n2(std::chrono::hours(1));
    std::vector<Socket> callers;
    for (int i = 0; i < 20; ++i) callers.push_back(n2.call());
    REQUIRE(callers.back().send(frame_of("n1", 11)));
    CHECK(wait_until([&] { return n2.ears.count("n1", 11) == 1; }));
    CHECK(n2.beats->stats().refused == 16);  // two for each of two callers stay
    CHECK(wait_until([&] { return n2.beats->stats().open == 1; }));
    CHECK(Called::hung_up(callers.front()));
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("beats: a caller that does not read hinders nobody") {
  Called n2(std::chrono::hours(1));
  Socket deaf = n2.call();
  Socket good = n2.call();
  for (int i = 0; i < 5; ++i) {
    REQUIRE(good.send(frame_of("n1", 11)));
    CHECK(good.read(kBeatFrameBytes) == frame_of("n2", 22));
  }
}

TEST_CASE("beats: without a place for its socket a node is told so") {
  Ears ears;
  auto beats = NodeBeats::start(
      {{"n1", Incarnation(1)}, {"/nowhere/b", {}, {}}, kDeadAfter, ears.callback()});
  REQUIRE_FALSE(beats.has_value());
  CHECK(beats.error().message ==
        "the socket /nowhere/b can't be opened (No such file or directory); check the state "
        "directory");
}

}  // namespace node_beats_test
}  // namespace troupe::testing
