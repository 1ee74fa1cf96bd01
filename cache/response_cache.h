// The memory tier of the response cache: encoded answers by key, least recently used out first.
// Thread-safe: shards with a mutex each. Bound: `bytes_max` over all shards, the book-keeping of
// entries included; a value that does not fit its shard, or is over kCachedResponseBytesMax, is not
// kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "config/ids.h"
#include "config/limits.h"

namespace troupe {

using CachedBytes = std::vector<std::byte>;

class ResponseCache {
 public:
  /// 0 bytes: keeps nothing.
  explicit ResponseCache(int64_t bytes_max = kResponseCacheBytes,
                         size_t shards = kResponseCacheShards);

  /// Null: a miss.
  std::shared_ptr<const CachedBytes> get(const Digest& key);
  /// False: too large, not kept.
  bool put(const Digest& key, CachedBytes value);
  void erase(const Digest& key);

  struct Stats {
    uint64_t hits = 0, misses = 0, evictions = 0;
    int64_t bytes = 0, entries = 0;
  };
  Stats stats() const;

  /// What one entry costs besides its value.
  static constexpr int64_t kEntryOverhead = 192;

 private:
  struct Entry {
    Digest key;
    std::shared_ptr<const CachedBytes> value;
  };
  struct KeyHash {
    size_t operator()(const Digest& key) const noexcept;
  };
  struct Shard {
    mutable std::mutex mutex;
    std::list<Entry> by_use;  ///< most recent first
    std::unordered_map<Digest, std::list<Entry>::iterator, KeyHash> by_key;
    Stats stats;
  };
  Shard& shard_of(const Digest& key);
  static void drop(Shard& shard, std::list<Entry>::iterator at);

  int64_t shard_bytes_max_;
  std::vector<Shard> shards_;
};

}  // namespace troupe
