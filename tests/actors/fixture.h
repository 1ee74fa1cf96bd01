// Runs shells on CAF's test scheduler: one thread, virtual time, one message at a time.
#pragma once

#include <doctest/doctest.h>

#include <caf/all.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "actors/caf_types.h"
#include "actors/shell.h"

namespace troupe::testing {

class TestConfig : public caf::actor_system_config {
 public:
  TestConfig() {
    add_message_type<WireBytes>("troupe_bytes");
    set("scheduler.policy", caf::atom("testing"));
    set("logger.inline-output", true);
  }
};

struct Stage {
  TestConfig config;
  caf::actor_system system{config};
  caf::scheduler::test_coordinator& scheduler =
      dynamic_cast<caf::scheduler::test_coordinator&>(system.scheduler());

  void drain() {
    while (scheduler.try_run_once()) {
    }
  }
  /// Lets virtual time pass in small steps, so that timers armed on the way fire in order.
  void advance(Duration by) {
    for (Duration done{}; done < by; done += 10ms) {
      drain();
      scheduler.advance_time(std::chrono::milliseconds(10));
    }
    drain();
  }
};

/// The living actor of this class, of which there is one: found once it has something to do, which
/// is still before it.
template <class Class>
caf::actor find_actor(Stage& stage) {
  for (int tries = 0; tries < 1000; ++tries) {
    while (stage.scheduler.has_job()) {
      if (auto* found = dynamic_cast<Class*>(stage.scheduler.jobs.front()))
        return caf::actor_cast<caf::actor>(found);
      stage.scheduler.run_once();
    }
    stage.scheduler.advance_time(std::chrono::milliseconds(10));
  }
  FAIL("no such actor has anything to do");
  return {};
}

/// It dies before it does anything that waits for it, as by an error in the next message.
inline void kill_now(const caf::actor& actor) {
  caf::actor_cast<caf::strong_actor_ptr>(actor)->enqueue(
      nullptr, caf::make_message_id(caf::message_priority::high),
      caf::make_message(caf::exit_msg{caf::actor_addr(), caf::exit_reason::kill}), nullptr);
}

/// An actor made of a behavior. (CAF's own spawn of a lambda without arguments dereferences a null
/// pointer that it never uses, which libstdc++'s assertions stop.)
class ScriptedActor : public caf::event_based_actor {
 public:
  ScriptedActor(caf::actor_config& config, std::function<caf::behavior()> make)
      : caf::event_based_actor(config), make_(std::move(make)) {}

 protected:
  caf::behavior make_behavior() override { return make_(); }

 private:
  std::function<caf::behavior()> make_;
};

/// An actor that keeps the messages it gets; `Decoded` are the envelopes sent to it.
struct Recorder {
  std::vector<Envelope> envelopes;
  caf::actor handle;

  static Recorder* spawn(Stage& stage, std::vector<std::unique_ptr<Recorder>>& owner) {
    owner.push_back(std::make_unique<Recorder>());
    Recorder* recorder = owner.back().get();
    recorder->handle = stage.system.spawn<ScriptedActor>([recorder]() -> caf::behavior {
      return {[recorder](const WireBytes& bytes) {
        auto envelope = decode(bytes);
        if (envelope) recorder->envelopes.push_back(std::move(*envelope));
      }};
    });
    return recorder;
  }
  template <class T>
  std::vector<T> all() const {
    std::vector<T> found;
    for (const Envelope& e : envelopes)
      if (auto* message = std::get_if<T>(&e.message)) found.push_back(*message);
    return found;
  }
};

}  // namespace troupe::testing
