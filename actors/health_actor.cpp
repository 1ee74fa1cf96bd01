#include "actors/health_actor.h"

namespace troupe {

HealthActor::HealthActor(caf::actor_config& config, caf::actor supervisor, double timing_scale)
    : caf::event_based_actor(config),
      supervisor_(std::move(supervisor)),
      machine_(timing_scale),
      timer_(this),
      second_(this) {}

caf::behavior HealthActor::make_behavior() {
  second_.arm();
  return {
      [this](Local<BeatNote>& beat) {
        feed(detector_in::Beat{beat.value->child, beat.value->incarnation});
      },
      [this](Local<DetectorInput>& input) { feed(*input.value); },
      [this](tick_atom, uint64_t number) {
        if (timer_.fired(number)) feed(detector_in::Tick{});
      },
      [this](second_atom) {
        feed(detector_in::OwnLag{second_.lateness()});
        send(supervisor_,
             local(ActorReport{"", Role::health, 0, "", mailbox().size(), second_.lateness(), {}}));
        second_.arm();
      },
  };
}

void HealthActor::feed(const DetectorInput& input) {
  machine_.step(now_of(this), input, effects_);
  for (DetectorEffect& effect : effects_) send(supervisor_, local(std::move(effect)));
  effects_.clear();
  timer_.arm(machine_.deadline());
}

}  // namespace troupe
