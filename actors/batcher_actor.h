// Shell of the Batcher machine in a group's rank 0 process: routers on one side, the device lane on
// the other.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "actors/lane.h"
#include "actors/shell.h"
#include "cluster/batcher.h"

namespace troupe {

struct BatcherActorConfig {
  std::string cluster, build, id;  ///< id: "n1/batcher/smollm2.0"
  Incarnation incarnation;         ///< of this process
  BatcherConfig machine;
  std::shared_ptr<Lane> lane;
  caf::actor shard;  ///< told of faults, of the end of a drain and, each second, how things stand
};

/// What the batcher tells the shard actor beside itself.
struct BatcherReport {
  ActorReport actor;
  GroupStatus status;
};

class BatcherActor : public caf::event_based_actor {
 public:
  BatcherActor(caf::actor_config& config, BatcherActorConfig setup);
  const char* name() const override { return "batcher"; }

 protected:
  caf::behavior make_behavior() override;

 private:
  void on_bytes(const WireBytes& bytes);
  void on_hello(const Hello& hello);
  void feed(const BatcherInput& input);
  void perform(BatcherEffect& effect);
  /// The machine's, with what this shell dropped.
  GroupStatus status();
  void drop(GroupDrop why) { ++dropped_[static_cast<size_t>(why)]; }

  BatcherActorConfig setup_;
  Batcher machine_;
  BatcherEffects effects_;
  TickTimer timer_;
  SecondTick second_;
  std::map<RouterId, caf::actor> routers_;
  std::array<uint64_t, kGroupDrops> dropped_{};
};

}  // namespace troupe
