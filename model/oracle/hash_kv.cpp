#include "model/oracle/hash_kv.h"

#include <algorithm>
#include <string>

namespace troupe {

void HashKv::copy(BlockCopy copy) {
  blocks_[static_cast<size_t>(copy.dst)] = blocks_[static_cast<size_t>(copy.src)];
}

Result<uint64_t> HashKv::state_before(std::span<const int32_t> table, int32_t pos,
                                      uint64_t root) const {
  uint64_t state = root;
  for (int32_t i = 0; i * kBlockPositions < pos; ++i) {
    const int32_t index = table[static_cast<size_t>(i)];
    const Block& block = blocks_[static_cast<size_t>(index)];
    const int32_t last = std::min(pos - i * kBlockPositions, kBlockPositions) - 1;
    const auto broken = [&](const char* what) {
      return fail(ErrorCode::internal,
                  "oracle: reads position " + std::to_string(i * kBlockPositions + last) +
                      " in block " + std::to_string(index) + ", which " + what +
                      ": the batcher's block table or prefix match is wrong.");
    };
    if (block.after[static_cast<size_t>(last)] == kPoison)
      return broken("was never written or is stale");
    if (block.before != state) return broken("belongs to another sequence");
    state = block.after[static_cast<size_t>(last)];
  }
  return state;
}

void HashKv::write(std::span<const int32_t> table, int32_t pos, uint64_t before, uint64_t after) {
  Block& block = blocks_[static_cast<size_t>(table[static_cast<size_t>(pos / kBlockPositions)])];
  const auto offset = pos % kBlockPositions;
  if (offset == 0) block.before = before;
  block.after[static_cast<size_t>(offset)] = after;
  std::fill(block.after.begin() + offset + 1, block.after.end(), kPoison);
}

}  // namespace troupe
