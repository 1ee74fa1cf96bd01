// Hands out a fixed set of KV blocks and counts who holds each. Not thread-safe: one Batcher owns
// one pool. A block is free, owned (one or more holders) or cached: nobody holds it, but its
// contents are worth keeping until the room is needed. Capacity never changes after construction.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <vector>

#include "config/ids.h"

namespace troupe {

class BlockPool {
 public:
  explicit BlockPool(int32_t blocks);

  /// `count` free blocks, each with one holder; nullopt when fewer are free, and then takes none.
  /// Cached blocks are not free: evict() first.
  std::optional<std::vector<BlockId>> take(int32_t count);
  /// One more holder of an owned or cached block.
  void retain(BlockId block);
  /// One holder less. The last one leaves it cached if keep() was called since it was taken, else
  /// free.
  void release(BlockId block);
  /// The contents of this owned block are worth keeping when nobody holds it.
  void keep(BlockId block);
  /// Frees the cached block that was released longest ago; the caller must forget what it held.
  /// nullopt: none.
  std::optional<BlockId> evict();

  int32_t total() const { return static_cast<int32_t>(blocks_.size()); }
  int32_t free() const { return static_cast<int32_t>(free_.size()); }
  int32_t cached() const { return static_cast<int32_t>(cached_.size()); }
  int32_t owned() const { return total() - free() - cached(); }
  /// What take() could give after evicting all that is cached.
  int32_t available() const { return free() + cached(); }
  int32_t holders(BlockId block) const { return blocks_[index(block)].holders; }

  /// Aborts unless every block is in exactly one state and the lists agree with it. O(blocks).
  void check() const;

 private:
  struct Block {
    int32_t holders = 0;
    bool kept = false;
    std::list<BlockId>::iterator place{};  ///< in cached_, when kept without a holder
  };
  size_t index(BlockId block) const;

  std::vector<Block> blocks_;
  std::vector<BlockId> free_;  ///< a stack: the block used last is warm
  std::list<BlockId> cached_;  ///< released longest ago first
};

}  // namespace troupe
