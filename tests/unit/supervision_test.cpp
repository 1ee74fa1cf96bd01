#include "cluster/supervision.h"

#include <doctest/doctest.h>

#include <set>

#include <string>
#include <vector>

using namespace troupe;

namespace supervision_test {
namespace {

struct Rig {
  Supervision machine;
  std::vector<SupervisionEffect> effects;  ///< of the last step
  Time now{};
  uint64_t next = 1;

  void step(const SupervisionInput& input) {
    effects.clear();
    machine.step(now, input, effects);
    machine.check();
  }
  void wait(Duration d) {
    now += d;
    step(supervision_in::Tick{});
  }
  template <class Effect>
  int count() const {
    int n = 0;
    for (const SupervisionEffect& e : effects) n += std::holds_alternative<Effect>(e);
    return n;
  }
  int spawns() const { return count<supervision_out::Spawn>(); }
  const Supervision::Child& child() const { return *machine.find("a"); }
  void add() { step(supervision_in::Add{"a"}); }
  void run() {
    step(supervision_in::Spawned{"a", Incarnation(next), static_cast<int64_t>(next)});
    ++next;
  }
  void exit(const std::string& how = "exit status 1") {
    step(supervision_in::Exited{"a", child().incarnation, how});
  }
  /// Dies and says how long it waits for its next process.
  Duration back_off() {
    exit();
    CHECK(spawns() == 0);
    const Time due = machine.deadline().value();
    const Duration wait = due - now;
    now = due - 1ns;
    step(supervision_in::Tick{});
    CHECK(spawns() == 0);
    now = due;
    step(supervision_in::Tick{});
    CHECK(spawns() == 1);
    return wait;
  }
};

/// The doubling wait, less at most a quarter.
bool about(Duration wait, Duration full) { return wait <= full && wait > full * 3 / 4; }

}  // namespace

TEST_CASE("supervision: a child is spawned when added and again, doubling its wait, when it dies") {
  Rig rig;
  rig.add();
  CHECK(rig.spawns() == 1);
  rig.run();
  CHECK(rig.child().state == ChildState::running);
  CHECK(rig.child().restarts == 0);
  CHECK(!rig.machine.deadline());
  Duration expected = 100ms;
  for (int death = 1; death <= 5; ++death) {
    CHECK(about(rig.back_off(), expected));
    rig.run();
    CHECK(rig.child().restarts == static_cast<uint32_t>(death));
    expected *= 2;
  }
}

TEST_CASE(
    "supervision: the sixth death in 300 s fails the child, which then has one try each 30 s") {
  Rig rig;
  rig.add();
  rig.run();
  for (int death = 1; death <= 5; ++death) {
    rig.back_off();
    rig.run();
  }
  for (int attempt = 0; attempt < 3; ++attempt) {
    rig.exit("signal 9 (SIGKILL)");
    CHECK(rig.child().state == ChildState::failed);
    CHECK(rig.child().last_error == "signal 9 (SIGKILL)");
    CHECK(rig.machine.deadline() == rig.now + 30s);
    rig.wait(30s - 1ns);
    CHECK(rig.spawns() == 0);
    rig.wait(1ns);
    CHECK(rig.spawns() == 1);
    rig.run();
    CHECK(rig.child().state == ChildState::running);
  }
}

TEST_CASE("supervision: deaths older than the window are forgiven and the wait starts anew") {
  Rig rig;
  rig.add();
  rig.run();
  for (int death = 1; death <= 5; ++death) {
    rig.back_off();
    rig.run();
  }
  rig.wait(300s);
  CHECK(rig.back_off() == 100ms);
  rig.run();
  CHECK(about(rig.back_off(), 200ms));
}

TEST_CASE("supervision: spawns that fail count as deaths and wait longer each time") {
  Rig rig;
  rig.add();
  rig.run();
  rig.wait(1000s);  // long enough to be forgiven once, not at each failure that follows
  rig.exit();
  Duration expected = 100ms;
  for (int failure = 1; failure <= 4; ++failure) {
    REQUIRE(rig.machine.deadline());
    const Duration wait = *rig.machine.deadline() - rig.now;
    CHECK(about(wait, expected));
    rig.wait(wait - 1ns);
    CHECK(rig.spawns() == 0);
    rig.wait(1ns);
    CHECK(rig.spawns() == 1);
    rig.step(supervision_in::SpawnFailed{"a", "fork failed: no memory"});
    CHECK(rig.child().last_error == "fork failed: no memory");
    expected *= 2;
  }
  CHECK(rig.child().restarts == 0);
}

TEST_CASE("supervision: the exit of a former incarnation says nothing about the present one") {
  Rig rig;
  rig.add();
  rig.run();
  const Incarnation first = rig.child().incarnation;
  rig.back_off();
  rig.run();
  rig.step(supervision_in::Exited{"a", first, "late news"});
  CHECK(rig.effects.empty());
  CHECK(rig.child().state == ChildState::running);
  rig.exit();
  rig.step(supervision_in::Exited{"a", rig.child().incarnation, "said twice"});
  CHECK(rig.child().last_error == "exit status 1");
  CHECK(rig.child().deaths.size() == 2);
}

TEST_CASE("supervision: a stopped child ends and is not started again") {
  Rig rig;
  rig.add();
  rig.run();
  rig.step(supervision_in::Stop{"a"});
  CHECK(rig.count<supervision_out::End>() == 1);
  CHECK(!rig.child().gone());
  rig.step(supervision_in::Stop{"a"});
  CHECK(rig.effects.empty());
  rig.exit("exit status 0");
  CHECK(rig.child().gone());
  CHECK(!rig.machine.deadline());
  rig.wait(1000s);
  CHECK(rig.effects.empty());
}

TEST_CASE("supervision: a child stopped while its spawn is under way is ended once it is there") {
  Rig rig;
  rig.add();
  rig.step(supervision_in::Stop{"a"});
  CHECK(rig.effects.empty());
  CHECK(!rig.child().gone());
  SUBCASE("the spawn succeeds") {
    rig.run();
    CHECK(rig.count<supervision_out::End>() == 1);
    CHECK(!rig.child().gone());
    rig.exit();
  }
  SUBCASE("the spawn fails") { rig.step(supervision_in::SpawnFailed{"a", "no memory"}); }
  CHECK(rig.child().gone());
  rig.wait(1000s);
  CHECK(rig.spawns() == 0);
}

TEST_CASE("supervision: a retired child runs on but its death is the last") {
  Rig rig;
  rig.add();
  rig.run();
  SUBCASE("while it runs") {
    rig.step(supervision_in::Retire{"a"});
    CHECK(rig.effects.empty());
    CHECK(rig.child().state == ChildState::running);
    rig.step(supervision_in::Restart{"a"});
    CHECK(rig.effects.empty());
    rig.exit();
  }
  SUBCASE("while it waits for its next try") {
    rig.exit();
    rig.step(supervision_in::Retire{"a"});
  }
  CHECK(rig.child().gone());
  rig.wait(1000s);
  CHECK(rig.spawns() == 0);
}

TEST_CASE("supervision: a restart by hand comes back at once and costs nothing of the budget") {
  Rig rig;
  rig.add();
  rig.run();
  for (int i = 0; i < 20; ++i) {
    rig.step(supervision_in::Restart{"a"});
    CHECK(rig.count<supervision_out::End>() == 1);
    CHECK(rig.spawns() == 0);
    rig.exit("exit status 0");
    CHECK(rig.spawns() == 1);
    rig.run();
  }
  CHECK(rig.child().deaths.empty());
  rig.exit();
  CHECK(rig.child().deaths.size() == 1);
  rig.step(supervision_in::Restart{"a"});
  CHECK(rig.spawns() == 1);  // it need not wait any longer
}

TEST_CASE("supervision: children that die together again and again come back apart") {
  std::set<Time> first, second;
  for (uint64_t process = 1; process <= 32; ++process) {
    Supervision machine;
    std::vector<SupervisionEffect> out;
    machine.step(Time{}, supervision_in::Add{"a"}, out);
    for (std::set<Time>* back : {&first, &second}) {
      const Time now{back == &first ? 0s : 1s};
      machine.step(now, supervision_in::Spawned{"a", Incarnation(process), 7}, out);
      machine.step(now, supervision_in::Exited{"a", Incarnation(process), "signal 9"}, out);
      REQUIRE(machine.deadline());
      back->insert(*machine.deadline());
      machine.step(*machine.deadline(), supervision_in::Tick{}, out);
    }
  }
  CHECK(first.size() == 1);  // one death alone harms nobody
  CHECK(second.size() > 24);
}

}  // namespace supervision_test
