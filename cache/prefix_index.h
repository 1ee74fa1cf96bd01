// Which KV block holds which full block of tokens after which prefix. A key is SHA-256 over (key of
// the prefix, tokens of the block); the key of the empty prefix is root(), which separates
// numerics, adapters and tenants. Equal keys mean equal prefixes, so a hit is exact. Owned by one
// Batcher; not thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "config/ids.h"

namespace troupe {

class PrefixIndex {
 public:
  static Digest root(const Digest& numerics_id, int32_t adapter, const Salt& tenant);
  /// Key of the prefix that ends with these tokens.
  static Digest extend(const Digest& prefix, std::span<const TokenId> tokens);

  /// Blocks of the longest known prefix of the chain; `chain[i]` is the key up to and with block i.
  std::vector<BlockId> match(std::span<const Digest> chain) const;
  bool contains(const Digest& key) const { return by_key_.contains(key); }

  /// False and no change when the key is known already, the block is in use for another key, or the
  /// index holds kPrefixBlocksMax entries.
  bool insert(const Digest& key, BlockId block);
  /// Its block was evicted. Unknown blocks are ignored.
  void erase(BlockId block);

  size_t size() const { return by_key_.size(); }
  bool holds(BlockId block) const { return by_block_.contains(block); }
  void check() const;

 private:
  struct KeyHash {
    size_t operator()(const Digest& key) const noexcept;
  };
  std::unordered_map<Digest, BlockId, KeyHash> by_key_;
  std::unordered_map<BlockId, Digest> by_block_;
};

}  // namespace troupe
