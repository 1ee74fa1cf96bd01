#include "cache/block_pool.h"

#include "config/check.h"

namespace troupe {

BlockPool::BlockPool(int32_t blocks) : blocks_(static_cast<size_t>(blocks)) {
  free_.reserve(blocks_.size());
  for (int32_t i = blocks; i-- > 0;) free_.push_back(BlockId(i));
}

size_t BlockPool::index(BlockId block) const {
  TROUPE_CHECK(block.value >= 0 && block.value < total(), block, total());
  return static_cast<size_t>(block.value);
}

std::optional<std::vector<BlockId>> BlockPool::take(int32_t count) {
  if (count > free()) return std::nullopt;
  std::vector<BlockId> taken;
  taken.reserve(static_cast<size_t>(count));
  for (int32_t i = 0; i < count; ++i) {
    taken.push_back(free_.back());
    free_.pop_back();
    blocks_[index(taken.back())] = Block{.holders = 1};
  }
  return taken;
}

void BlockPool::retain(BlockId block) {
  Block& b = blocks_[index(block)];
  TROUPE_CHECK(b.holders > 0 || b.kept, block);
  if (b.holders++ == 0) cached_.erase(b.place);
}

void BlockPool::release(BlockId block) {
  Block& b = blocks_[index(block)];
  TROUPE_CHECK(b.holders > 0, block);
  if (--b.holders > 0) return;
  if (b.kept) {
    b.place = cached_.insert(cached_.end(), block);
  } else {
    free_.push_back(block);
  }
}

void BlockPool::keep(BlockId block) {
  Block& b = blocks_[index(block)];
  TROUPE_CHECK(b.holders > 0, block);
  b.kept = true;
}

std::optional<BlockId> BlockPool::evict() {
  if (cached_.empty()) return std::nullopt;
  const BlockId block = cached_.front();
  cached_.pop_front();
  blocks_[index(block)] = Block{};
  free_.push_back(block);
  return block;
}

void BlockPool::check() const {
  enum class Seen : uint8_t { no, free, cached };
  std::vector<Seen> seen(blocks_.size(), Seen::no);
  for (BlockId block : free_) {
    const Block& b = blocks_[index(block)];
    TROUPE_CHECK(b.holders == 0 && !b.kept && seen[index(block)] == Seen::no, block, b.holders);
    seen[index(block)] = Seen::free;
  }
  for (BlockId block : cached_) {
    const Block& b = blocks_[index(block)];
    TROUPE_CHECK(b.holders == 0 && b.kept && seen[index(block)] == Seen::no, block, b.holders);
    seen[index(block)] = Seen::cached;
  }
  for (size_t i = 0; i < blocks_.size(); ++i) {
    TROUPE_CHECK((blocks_[i].holders > 0) == (seen[i] == Seen::no), i, blocks_[i].holders);
  }
}

}  // namespace troupe
