#include "cluster/failure_detector.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace troupe;

namespace failure_detector_test {
namespace {

struct Rig {
  explicit Rig(double scale = 1) : machine(scale) {}
  FailureDetector machine;
  std::vector<DetectorEffect> effects;  ///< of the last step or wait
  Time now{};

  void step(const DetectorInput& input) {
    effects.clear();
    feed(input);
  }
  void watch(const std::string& peer, uint64_t i) {
    step(detector_in::Watch{peer, Incarnation(i)});
  }
  void beat(const std::string& peer, uint64_t i) { step(detector_in::Beat{peer, Incarnation(i)}); }
  /// As a shell does it: wakes at each deadline.
  void wait(Duration d) {
    effects.clear();
    const Time until = now + d;
    for (auto due = machine.deadline(); due && *due < until; due = machine.deadline()) {
      REQUIRE(*due >= now);
      REQUIRE(*due > stepped);  // else a shell would spin
      now = *due;
      feed(detector_in::Tick{});
    }
    now = until;
    feed(detector_in::Tick{});
  }
  /// The process is stopped: no timer fires until the first input after it.
  void sleep(Duration d) { now += d; }
  Verdict verdict(const std::string& peer) const { return machine.verdict(peer).value(); }

 private:
  void feed(const DetectorInput& input) {
    machine.step(now, input, effects);
    machine.check();
    stepped = now;
  }
  Time stepped = Time::min();
};

}  // namespace

TEST_CASE("failure detector: silence makes a peer suspect at 500 ms and dead at 1.5 s") {
  Rig rig;
  rig.watch("a", 1);
  rig.beat("a", 1);
  rig.wait(500ms - 1ns);
  CHECK(rig.verdict("a") == Verdict::alive);
  rig.wait(1ns);
  REQUIRE(rig.effects.size() == 1);
  CHECK(rig.effects[0].verdict == Verdict::suspect);
  CHECK(rig.effects[0].silence == 500ms);
  rig.wait(1s - 1ns);
  CHECK(rig.verdict("a") == Verdict::suspect);
  rig.wait(1ns);
  REQUIRE(rig.effects.size() == 1);
  CHECK(rig.effects[0].verdict == Verdict::dead);
  CHECK(rig.effects[0].incarnation == Incarnation(1));
  CHECK(!rig.machine.deadline());
}

TEST_CASE("failure detector: a peer that never says a word is judged from its watch on") {
  Rig rig;
  rig.watch("a", 1);
  rig.wait(499ms);
  CHECK(rig.verdict("a") == Verdict::alive);
  rig.wait(1002ms);
  CHECK(rig.verdict("a") == Verdict::dead);
}

TEST_CASE("failure detector: a suspect that beats is alive again, a dead one stays dead") {
  Rig rig;
  rig.watch("a", 1);
  rig.wait(1400ms);
  CHECK(rig.verdict("a") == Verdict::suspect);
  rig.beat("a", 1);
  REQUIRE(rig.effects.size() == 1);
  CHECK(rig.effects[0].verdict == Verdict::alive);
  rig.beat("a", 1);
  CHECK(rig.effects.empty());
  rig.wait(1500ms);
  CHECK(rig.verdict("a") == Verdict::dead);
  rig.beat("a", 1);
  CHECK(rig.effects.empty());
  CHECK(rig.verdict("a") == Verdict::dead);
  rig.watch("a", 2);
  CHECK(rig.verdict("a") == Verdict::alive);
}

TEST_CASE(
    "failure detector: the first beat after a watch is news, so that a fresh detector clears old "
    "suspicions") {
  Rig rig;
  rig.watch("a", 1);
  rig.beat("a", 1);
  REQUIRE(rig.effects.size() == 1);
  CHECK(rig.effects[0].verdict == Verdict::alive);
  rig.beat("a", 1);
  CHECK(rig.effects.empty());
}

TEST_CASE("failure detector: beats and farewells of a former incarnation count for nothing") {
  Rig rig;
  rig.watch("a", 1);
  rig.watch("a", 2);
  rig.wait(400ms);
  rig.beat("a", 1);
  rig.step(detector_in::Forget{"a", Incarnation(1)});
  rig.beat("b", 9);
  CHECK(!rig.machine.verdict("b"));
  rig.wait(200ms);
  CHECK(rig.verdict("a") == Verdict::suspect);
  rig.step(detector_in::Forget{"a", Incarnation(2)});
  CHECK(!rig.machine.verdict("a"));
  CHECK(!rig.machine.deadline());
}

TEST_CASE("failure detector: timing_scale stretches both times") {
  Rig rig(5);
  rig.watch("a", 1);
  rig.wait(2500ms - 1ns);
  CHECK(rig.verdict("a") == Verdict::alive);
  rig.wait(1ns);
  CHECK(rig.verdict("a") == Verdict::suspect);
  rig.wait(5s);
  CHECK(rig.verdict("a") == Verdict::dead);
}

TEST_CASE("failure detector: an own lag above 100 ms extends the times by as much, for a while") {
  Rig rig;
  rig.watch("a", 1);
  rig.watch("b", 1);
  rig.step(detector_in::OwnLag{100ms});
  CHECK(rig.machine.deadline() == rig.now + 500ms);
  rig.step(detector_in::OwnLag{300ms});
  CHECK(rig.machine.deadline() == rig.now + 800ms);
  rig.wait(799ms);
  CHECK(rig.verdict("a") == Verdict::alive);
  rig.wait(1ms);
  CHECK(rig.verdict("a") == Verdict::suspect);
  rig.beat("a", 1);
  rig.step(detector_in::OwnLag{0ms});
  CHECK(rig.verdict("b") == Verdict::suspect);
  CHECK(rig.machine.deadline() == rig.now + 500ms);
  rig.step(detector_in::OwnLag{2s});
  rig.wait(2s + 1500ms);  // no other report of lag: it is over
  CHECK(rig.verdict("b") == Verdict::dead);
}

TEST_CASE(
    "failure detector: a process that slept itself hears what was said meanwhile before it "
    "judges") {
  Rig rig;
  rig.watch("a", 1);
  rig.watch("b", 1);
  rig.beat("a", 1);
  rig.beat("b", 1);
  rig.sleep(5s);
  rig.step(detector_in::Tick{});  // the timer comes first, the beats wait behind it
  CHECK(rig.effects.empty());
  rig.beat("a", 1);
  CHECK(rig.verdict("a") == Verdict::alive);
  // b said nothing: its silence counts without the sleep.
  CHECK(rig.verdict("b") == Verdict::suspect);
  rig.wait(999ms);
  CHECK(rig.verdict("b") == Verdict::suspect);
  rig.wait(1ms);
  CHECK(rig.verdict("b") == Verdict::dead);
}

TEST_CASE("failure detector: however late its timers are, it judges the dead in the end") {
  Rig rig;
  rig.watch("a", 1);
  for (int i = 0; i < 8; ++i) {
    rig.sleep(900ms);
    rig.step(detector_in::Tick{});
  }
  CHECK(rig.verdict("a") == Verdict::dead);
}

}  // namespace failure_detector_test
