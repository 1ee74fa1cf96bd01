// What every shell needs: one timer, a self-tick that measures the mailbox, and a firm end.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "actors/caf_types.h"
#include "cluster/messages.h"
#include "config/limits.h"

namespace troupe {

/// The time of the actor's clock: steady in production, virtual under CAF's test scheduler.
inline Time now_of(caf::local_actor* self) {
  return Time(std::chrono::duration_cast<Duration>(self->clock().now().time_since_epoch()));
}

/// Keeps one outstanding timer (<= kTimerMax, numbered) for the machine's next deadline. CAF can't
/// cancel a delayed_send, so an earlier deadline arms another one and the older number is stale
/// when it fires.
class TickTimer {
 public:
  /// Timers of one actor differ in `kind`.
  explicit TickTimer(caf::event_based_actor* self, uint8_t kind = 0)
      : self_(self), number_(uint64_t{kind} << 56) {}

  void arm(std::optional<Time> deadline) {
    if (!deadline) return;
    const Time now = now_of(self_);
    const Time at = std::clamp(*deadline, now, now + kTimerMax);
    if (armed_ && *armed_ <= at) return;
    armed_ = at;
    self_->delayed_send(self_, at - now, tick_atom::value, ++number_);
  }
  /// True when this tick is the outstanding one.
  bool fired(uint64_t number) {
    if (number != number_) return false;
    armed_.reset();
    return true;
  }

 private:
  caf::event_based_actor* self_;
  std::optional<Time> armed_;
  uint64_t number_;
};

/// Measures how late a self-tick of one second arrives: the age of the mailbox (CAF 0.17.6 has no
/// telemetry).
class SecondTick {
 public:
  explicit SecondTick(caf::event_based_actor* self) : self_(self) {}
  void arm() {
    due_ = now_of(self_) + 1s;
    self_->delayed_send(self_, std::chrono::seconds(1), second_atom::value);
  }
  /// Call on each second_atom, then arm() again.
  Duration lateness() const { return std::max(0ns, now_of(self_) - due_); }

 private:
  caf::event_based_actor* self_;
  Time due_{};
};

/// An exception that escapes a handler is a failed part: the process ends with 70 and its
/// supervisor decides.
void die_on_exception(caf::scheduled_actor* self, const char* actor);

/// The bytes of a message from this process.
inline WireBytes wire(Incarnation sender, Message message) {
  return encode(Envelope{sender, {}, std::move(message)});
}

}  // namespace troupe
