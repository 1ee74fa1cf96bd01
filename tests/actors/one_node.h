// A node as it runs, without processes and threads: the real supervisor, router, batcher and cache
// actors, the oracle as the model, and a bridge that keeps what it is handed.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "actors/router_actor.h"
#include "actors/supervisor_actor.h"
#include "model/tokenizer.h"
#include "tests/actors/fixture.h"
#include "tests/actors/inline_lane.h"

namespace troupe::testing {

/// What a request came to.
struct Delivered {
  std::vector<int32_t> tokens;
  CacheOutcome cache = CacheOutcome::not_cacheable;
  bool ended = false;
  std::string failed;
};

class KeepingBridge final : public Bridge {
 public:
  void set_models(std::vector<std::shared_ptr<const ServedModel>> models) override;
  void set_state(BridgeState state) override { ready = state.readiness.ready; }
  void open() override {}
  void deliver(std::vector<router_out::Deliver> deliveries) override;
  void fail(router_out::Fail failure) override { got[failure.id].failed = failure.error.message; }
  void fail_all(Error) override {}
  Result<void> reload() override { return {}; }
  void drain() override {}
  size_t connections() override { return 0; }

  std::map<RequestId, Delivered> got;
  size_t models_served = 0;
  bool ready = false;
};

struct OneNode {
  OneNode();
  ~OneNode();

  /// Time passes; processes that live beat each 100 ms.
  void advance(Duration by);
  void tell(NodeInput input);
  /// Hands in a request with a cache key that follows from the prompt; nothing runs yet.
  RequestId submit(const std::vector<int32_t>& prompt, int32_t max_new);
  /// ... and runs until it has ended, within 5 s.
  Delivered ask(const std::vector<int32_t>& prompt, int32_t max_new);
  /// The router's process dies; another one greets in its place.
  Recorder* replace_router();
  /// The row of an actor in the node's tree.
  ActorStatus row(const std::string& id) const;

  Stage stage;
  std::vector<std::unique_ptr<Recorder>> recorders;
  std::vector<SpawnCommand> spawned;
  std::vector<EndCommand> ended;
  std::shared_ptr<SharedTree> tree = std::make_shared<SharedTree>();
  std::shared_ptr<InlineLane> lane = std::make_shared<InlineLane>();
  KeepingBridge bridge;
  std::vector<int> exits, router_exits;  ///< codes with which the processes meant to end
  caf::actor middleman, supervisor, batcher, router;

 private:
  SpawnCommand last_spawn(const std::string& child) const;
  void start_supervisor();
  void start_batcher(const LoadOrder& order, Incarnation incarnation);
  void start_router();
  caf::actor shard_;  ///< the batcher's
  std::map<std::string, Incarnation> living_;
  uint64_t next_incarnation_ = 100, next_request_ = 1;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

}  // namespace troupe::testing
