#include "actors/cache_actor.h"

#include "cluster/cached_response_codec.h"

namespace troupe {

Result<CacheActorConfig> make_cache(const ChildStart& start) {
  CacheActorConfig config;
  config.memory = std::make_shared<ResponseCache>(start.limits.response_cache_bytes);
  if (!start.redis.empty()) {
    const auto key = std::as_bytes(std::span(start.value_key));
    RedisConfig redis;
    redis.url = start.redis;
    redis.insecure = start.redis_insecure;
    redis.secret.assign(key.begin(), key.end());
    redis.readable = [](std::span<const std::byte> value) {
      return decode_cached_response(value).has_value();
    };
    auto store = RedisStore::start(std::move(redis));
    if (!store) return std::unexpected(store.error());
    config.redis = std::move(*store);
  }
  return config;
}

CacheActor::CacheActor(caf::actor_config& config, CacheActorConfig setup)
    : caf::event_based_actor(config), setup_(std::move(setup)) {}

caf::behavior CacheActor::make_behavior() {
  return {
      [this](Local<CacheLookupAsk>& ask) {
        look_up(ask.value->id, ask.value->key, caf::actor_cast<caf::actor>(current_sender()));
      },
      [this](Local<CacheStoreAsk>& ask) {
        std::vector<std::byte> bytes = encode(*ask.value->response);
        if (setup_.redis) setup_.redis->put(ask.value->key, bytes);
        setup_.memory->put(ask.value->key, std::move(bytes));
      },
  };
}

void CacheActor::look_up(RequestId id, const Digest& key, const caf::actor& router) {
  auto answer = [router, id](CacheTier tier, std::span<const std::byte> bytes) {
    router_in::CacheReply reply{id, CacheTier::none, nullptr};
    // A value that does not decode is one more kind of miss.
    if (tier != CacheTier::none)
      if (auto decoded = decode_cached_response(bytes)) {
        reply.tier = tier;
        reply.response = std::make_shared<const CachedResponse>(std::move(*decoded));
      }
    caf::anon_send(router, local(std::move(reply)));
  };
  if (auto kept = setup_.memory->get(key)) {
    answer(CacheTier::memory, *kept);
  } else if (setup_.redis) {
    setup_.redis->get(
        key, [answer, memory = setup_.memory, key](std::optional<RedisStore::Value> value) {
          if (!value) {
            answer(CacheTier::none, {});
            return;
          }
          answer(CacheTier::redis, *value);
          memory->put(key, std::move(*value));
        });
  } else {
    answer(CacheTier::none, {});
  }
}

}  // namespace troupe
