#include "cache/response_cache.h"

#include <cstring>
#include <utility>

#include "config/check.h"

namespace troupe {

size_t ResponseCache::KeyHash::operator()(const Digest& key) const noexcept {
  size_t hash;  // the key is a cryptographic hash: any part of it is as good as all
  std::memcpy(&hash, key.data() + 8, sizeof hash);
  return hash;
}

ResponseCache::ResponseCache(int64_t bytes_max, size_t shards)
    : shard_bytes_max_(bytes_max / static_cast<int64_t>(shards)), shards_(shards) {
  TROUPE_CHECK(shards > 0 && bytes_max >= 0, shards, bytes_max);
}

ResponseCache::Shard& ResponseCache::shard_of(const Digest& key) {
  return shards_[key[0] % shards_.size()];
}

void ResponseCache::drop(Shard& shard, std::list<Entry>::iterator at) {
  shard.stats.bytes -= kEntryOverhead + static_cast<int64_t>(at->value->size());
  --shard.stats.entries;
  shard.by_key.erase(at->key);
  shard.by_use.erase(at);
}

std::shared_ptr<const CachedBytes> ResponseCache::get(const Digest& key) {
  Shard& shard = shard_of(key);
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.by_key.find(key);
  if (found == shard.by_key.end()) {
    ++shard.stats.misses;
    return nullptr;
  }
  ++shard.stats.hits;
  shard.by_use.splice(shard.by_use.begin(), shard.by_use, found->second);
  return found->second->value;
}

bool ResponseCache::put(const Digest& key, CachedBytes value) {
  const int64_t bytes = kEntryOverhead + static_cast<int64_t>(value.size());
  if (bytes > shard_bytes_max_ || static_cast<int64_t>(value.size()) > kCachedResponseBytesMax)
    return false;
  auto kept = std::make_shared<const CachedBytes>(std::move(value));
  Shard& shard = shard_of(key);
  const std::lock_guard lock(shard.mutex);
  if (const auto before = shard.by_key.find(key); before != shard.by_key.end())
    drop(shard, before->second);
  while (shard.stats.bytes + bytes > shard_bytes_max_) {
    drop(shard, std::prev(shard.by_use.end()));
    ++shard.stats.evictions;
  }
  shard.by_use.push_front({key, std::move(kept)});
  shard.by_key[key] = shard.by_use.begin();
  shard.stats.bytes += bytes;
  ++shard.stats.entries;
  return true;
}

void ResponseCache::erase(const Digest& key) {
  Shard& shard = shard_of(key);
  const std::lock_guard lock(shard.mutex);
  if (const auto found = shard.by_key.find(key); found != shard.by_key.end())
    drop(shard, found->second);
}

ResponseCache::Stats ResponseCache::stats() const {
  Stats sum;
  for (const Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    sum.hits += shard.stats.hits;
    sum.misses += shard.stats.misses;
    sum.evictions += shard.stats.evictions;
    sum.bytes += shard.stats.bytes;
    sum.entries += shard.stats.entries;
  }
  return sum;
}

}  // namespace troupe
