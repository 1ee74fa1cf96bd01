// Shell of a rank in its own process: obeys the node (load, abort) and owns the device lane. Once
// the model is in memory, rank 0 starts the batcher; any other rank follows its plans until the
// generation ends, and its process ends with it.
#pragma once

#include <atomic>
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
  Result<void> start_batcher(const LoadedModel& loaded);
  void follow();
  void send_report();
  void to_node(Message message);

  ShardActorConfig setup_;
  SecondTick second_;
  std::optional<LoadOrder> order_;
  std::string describe_;
  caf::actor batcher_;
  /// Of a rank that follows: when its last step was done, in nanoseconds; 0: not yet.
  std::shared_ptr<std::atomic<int64_t>> stepped_at_ = std::make_shared<std::atomic<int64_t>>(0);
  ProcessReport report_;
};

}  // namespace troupe
