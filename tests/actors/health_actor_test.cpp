#include "actors/health_actor.h"

#include <doctest/doctest.h>

#include "tests/actors/fixture.h"

using namespace troupe;
using troupe::testing::ScriptedActor;
using troupe::testing::Stage;

namespace health_actor_test {
namespace {

struct Verdicts {
  std::vector<DetectorEffect> seen;
  caf::actor handle;
  explicit Verdicts(Stage& stage) {
    handle = stage.system.spawn<ScriptedActor>([this]() -> caf::behavior {
      return {[this](Local<DetectorEffect>& effect) { seen.push_back(*effect.value); },
              [](Local<ActorReport>&) {}};
    });
  }
};

struct Scene {
  Stage stage;
  Verdicts verdicts{stage};
  caf::actor health = stage.system.spawn<HealthActor>(verdicts.handle, 1.0);
  ~Scene() {
    caf::anon_send_exit(health, caf::exit_reason::kill);
    caf::anon_send_exit(verdicts.handle, caf::exit_reason::kill);
    stage.drain();
  }
};

}  // namespace

TEST_CASE("health actor: a child that beats stays alive, a silent one is suspected and then dead") {
  Scene scene;
  for (const char* child : {"n1/a", "n1/b"})
    caf::anon_send(scene.health, local(DetectorInput(detector_in::Watch{child, Incarnation(7)})));
  for (int i = 0; i < 30; ++i) {
    caf::anon_send(scene.health, local(BeatNote{"n1/a", Incarnation(7)}));
    scene.stage.advance(100ms);
  }
  std::vector<DetectorEffect> silent;
  for (const DetectorEffect& effect : scene.verdicts.seen) {
    if (effect.peer == "n1/a") CHECK(effect.verdict == Verdict::alive);
    if (effect.peer == "n1/b") silent.push_back(effect);
  }
  REQUIRE(silent.size() == 2);
  CHECK(silent[0].verdict == Verdict::suspect);
  CHECK(silent[1].verdict == Verdict::dead);
  CHECK(silent[1].silence >= kDeadAfter);
  CHECK(silent[1].silence < kDeadAfter + 200ms);
}

}  // namespace health_actor_test
