// The oracle's "KV cache": one hash a position, in real blocks reached through block tables, so
// that paging, prefix sharing, copy-on-write and wrong tables show up in the answer or, better, as
// an error here. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "config/result.h"
#include "model/step.h"

namespace troupe {

class HashKv {
 public:
  /// State before the block's first position, and after each of its positions (kPoison: not
  /// written).
  struct Block {
    uint64_t before = kPoison;
    std::array<uint64_t, kBlockPositions> after = poisoned();
  };

  HashKv() = default;
  explicit HashKv(int32_t blocks) : blocks_(static_cast<size_t>(blocks)) {}

  void copy(BlockCopy copy);
  /// State after positions [0, pos) of the sequence with this table, `root` for pos = 0. Fails
  /// (internal) when a position was never written, is stale, or the table mixes blocks of several
  /// sequences.
  Result<uint64_t> state_before(std::span<const int32_t> table, int32_t pos, uint64_t root) const;
  /// Writes the state after position `pos`. Whatever the block held beyond is stale from now on:
  /// poisoned.
  void write(std::span<const int32_t> table, int32_t pos, uint64_t before, uint64_t after);

  const Block& block(int32_t index) const { return blocks_[static_cast<size_t>(index)]; }
  void restore(int32_t index, const Block& block) { blocks_[static_cast<size_t>(index)] = block; }

 private:
  static constexpr uint64_t kPoison = 0xdeadbeefdeadbeefu;
  static constexpr std::array<uint64_t, kBlockPositions> poisoned() {
    std::array<uint64_t, kBlockPositions> all{};
    all.fill(kPoison);
    return all;
  }
  std::vector<Block> blocks_;
};

}  // namespace troupe
