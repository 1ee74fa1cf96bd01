// Shell of the FailureDetector in the node process: beats in, verdicts out to the supervisor.
// Restarted in place when it fails; until then nobody is declared dead.
#pragma once

#include "actors/lifeline.h"
#include "actors/shell.h"
#include "cluster/failure_detector.h"

namespace troupe {

/// From the spawner's thread.
struct BeatNote {
  std::string child;
  Incarnation incarnation;
};

class HealthActor : public caf::event_based_actor {
 public:
  /// Verdicts go to `supervisor` as Local<DetectorEffect>.
  HealthActor(caf::actor_config& config, caf::actor supervisor, double timing_scale);
  const char* name() const override { return "health"; }

 protected:
  /// Local<BeatNote>, Local<DetectorInput>
  caf::behavior make_behavior() override;

 private:
  void feed(const DetectorInput& input);
  caf::actor supervisor_;
  FailureDetector machine_;
  std::vector<DetectorEffect> effects_;
  TickTimer timer_;
  SecondTick second_;
};

}  // namespace troupe
