// Which KV block holds which full block of tokens after which prefix. A key is SHA-256 over (key of
// the prefix, tokens of the block); the key of the empty prefix is root(), which separates
// numerics, adapters and tenants. Equal keys mean equal prefixes, so a hit is exact. Owned by one
// Batcher; not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "config/ids.h"

namespace troupe {

class PrefixIndex {
 public:
  /// Room for `blocks` blocks is taken at once, so that a cache that fills up does not look like a
  /// leak; blocks beyond may come.
  explicit PrefixIndex(int32_t blocks = 0);

  static Digest root(const Digest& numerics_id, int32_t adapter, const Salt& tenant);
  /// Key of the prefix that ends with these tokens.
  static Digest extend(const Digest& prefix, std::span<const TokenId> tokens);

  /// Blocks of the longest known prefix of the chain; `chain[i]` is the key up to and with block i.
  std::vector<BlockId> match(std::span<const Digest> chain) const;
  bool contains(const Digest& key) const { return by_key_.contains(key); }

  /// False and no change when the key is known already, the block is in use for another key, or the
  /// index holds kPrefixBlocksMax entries.
  bool insert(const Digest& key, BlockId block);
  /// Its block was evicted: the key it had; nullopt for an unknown block.
  std::optional<Digest> erase(BlockId block);

  size_t size() const { return by_key_.size(); }
  bool holds(BlockId block) const {
    const auto at = static_cast<size_t>(block.value);
    return at < by_block_.size() && by_block_[at].has_value();
  }
  void check() const;

 private:
  struct KeyHash {
    size_t operator()(const Digest& key) const noexcept;
  };
  std::unordered_map<Digest, BlockId, KeyHash> by_key_;
  std::vector<std::optional<Digest>> by_block_;
};

}  // namespace troupe
