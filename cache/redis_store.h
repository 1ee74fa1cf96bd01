// Values in Redis, for all routers that share it. Whatever Redis does (absent, slow, lying) is a
// miss with a counter that says why, never an error and never a wait over kRedisTimeout. Values
// carry an HMAC over key and bytes under the cluster's secret: one that somebody else wrote is not
// believed.
//
// Own thread, own deadlines; any thread may call. Bounds: kRedisPendingMax commands,
// kRedisPendingBytesMax unsent bytes, kCachedResponseBytesMax a value; beyond them a get is a miss
// and a put is dropped. The host's name is resolved on that thread when it connects.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "config/ids.h"
#include "config/limits.h"
#include "config/result.h"

namespace troupe {

struct RedisConfig {
  std::string url;                ///< redis://HOST:PORT
  bool insecure = false;          ///< allows another host than this one: hiredis 0.14 has no TLS
  std::vector<std::byte> secret;  ///< keys the HMACs; not empty
  Duration timeout = kRedisTimeout;
  Duration ttl = kRedisTtl;
  /// Whether a value can be used: of another version's, which was well sealed, it may not be.
  /// Called on the store's thread. Empty: all can.
  std::function<bool(std::span<const std::byte>)> readable;
};

/// Why gets were misses and puts were lost, besides keys that are not there.
struct RedisStats {
  uint64_t hits = 0, misses = 0, stored = 0;
  uint64_t not_connected = 0;  ///< no connection, or it broke
  uint64_t timed_out = 0;
  uint64_t resting = 0;     ///< the breaker was open
  uint64_t wrong_type = 0;  ///< not a string: an error reply or another kind of value
  uint64_t truncated = 0;   ///< shorter than its HMAC
  uint64_t foreign = 0;     ///< HMAC does not match
  uint64_t unreadable = 0;  ///< well sealed, but RedisConfig::readable said no
  uint64_t too_big = 0;
  uint64_t overloaded = 0;  ///< too much pending
  uint64_t refused = 0;     ///< Redis answered a put with an error
  bool connected = false;
};

class RedisStore {
 public:
  using Value = std::vector<std::byte>;
  /// Called once, on the store's thread (or the caller's, when the answer is known at once), with
  /// nullopt for a miss. Must not block or throw.
  using Found = std::function<void(std::optional<Value>)>;

  /// Connects in the background. invalid_argument: url malformed, a remote host without `insecure`,
  /// or no secret.
  static Result<std::shared_ptr<RedisStore>> start(RedisConfig config);
  virtual ~RedisStore() = default;  ///< answers what is pending with misses

  virtual void get(const Digest& key, Found found) = 0;
  virtual void put(const Digest& key, Value value) = 0;
  virtual RedisStats stats() const = 0;
};

}  // namespace troupe
