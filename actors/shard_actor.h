// Shell of a rank in its own process: obeys the node (load, abort), owns the device lane, and on
// rank 0 starts the batcher once the model is in memory.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "actors/batcher_actor.h"
#include "actors/lane.h"
#include "actors/shell.h"
#include "net/child_start.h"

namespace troupe {

struct ShardActorConfig {
  ChildStart start;
  caf::actor node;  ///< the node's supervisor
  /// Makes the batcher reachable at the process's socket.
  std::function<Result<void>(const caf::actor&)> publish;
  std::shared_ptr<Lane> lane;
  /// Ends the process with this code; tests record it instead.
  std::function<void(int code)> exit;
};

class ShardActor : public caf::event_based_actor {
 public:
  ShardActor(caf::actor_config& config, ShardActorConfig setup);
  const char* name() const override { return "shard"; }

 protected:
  caf::behavior make_behavior() override;

 private:
  void on_bytes(const WireBytes& bytes);
  void on_loaded(Result<LoadedModel> loaded);
  void to_node(Message message);

  ShardActorConfig setup_;
  SecondTick second_;
  std::optional<LoadOrder> order_;
  std::string describe_;
  caf::actor batcher_;
  ProcessReport report_;
};

}  // namespace troupe
