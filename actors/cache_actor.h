// Shell of the response cache in a router process: the memory tier and, if configured, Redis behind
// it. Whatever goes wrong here is a miss. Restarted in place when it fails; the memory tier
// outlives it.
#pragma once

#include <memory>

#include "actors/shell.h"
#include "cache/redis_store.h"
#include "cache/response_cache.h"
#include "cluster/router.h"
#include "net/child_start.h"

namespace troupe {

struct CacheLookupAsk {
  RequestId id;
  Digest key{};
};
struct CacheStoreAsk {
  Digest key{};
  std::shared_ptr<const CachedResponse> response;
};

struct CacheActorConfig {
  std::shared_ptr<ResponseCache> memory;
  std::shared_ptr<RedisStore> redis;  ///< null: none
};

/// The tiers a router process was told of; outlives the actor. invalid_argument for a bad redis
/// address.
Result<CacheActorConfig> make_cache(const ChildStart& start);

class CacheActor : public caf::event_based_actor {
 public:
  CacheActor(caf::actor_config& config, CacheActorConfig setup);
  const char* name() const override { return "cache"; }

 protected:
  /// Local<CacheLookupAsk> -> Local<router_in::CacheReply> to the sender; Local<CacheStoreAsk>.
  caf::behavior make_behavior() override;

 private:
  void look_up(RequestId id, const Digest& key, const caf::actor& router);

  CacheActorConfig setup_;
};

}  // namespace troupe
