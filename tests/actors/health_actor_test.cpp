#include "actors/health_actor.h"

#include <doctest/doctest.h>

#include "tests/actors/fixture.h"

using namespace troupe;
using troupe::testing::Stage;

namespace {

struct Verdicts {
  std::vector<DetectorEffect> seen;
  caf::actor handle;
  explicit Verdicts(Stage& stage) {
    handle = stage.system.spawn([this](caf::event_based_actor*) -> caf::behavior {
      return {[this](Local<DetectorEffect>& effect) { seen.push_back(*effect.value); },
              [](Local<ActorReport>&) {}};
    });
  }
};

}  // namespace

TEST_CASE("health actor: a child that beats stays alive, a silent one is suspected and then dead") {
  Stage stage;
  Verdicts verdicts(stage);
  const caf::actor health = stage.system.spawn<HealthActor>(verdicts.handle, 1.0);
  for (const char* child : {"n1/a", "n1/b"})
    caf::anon_send(health, local(DetectorInput(detector_in::Watch{child, Incarnation(7), false})));
  for (int i = 0; i < 30; ++i) {
    caf::anon_send(health, local(BeatNote{"n1/a", Incarnation(7)}));
    stage.advance(100ms);
  }
  REQUIRE(verdicts.seen.size() == 2);
  CHECK(verdicts.seen[0].peer == "n1/b");
  CHECK(verdicts.seen[0].verdict == Verdict::suspect);
  CHECK(verdicts.seen[1].peer == "n1/b");
  CHECK(verdicts.seen[1].verdict == Verdict::dead);
  CHECK(verdicts.seen[1].silence >= kDeadAfter);
  CHECK(verdicts.seen[1].silence < kDeadAfter + 200ms);
  caf::anon_send_exit(health, caf::exit_reason::kill);
  caf::anon_send_exit(verdicts.handle, caf::exit_reason::kill);
  stage.drain();
}
