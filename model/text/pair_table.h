// A fixed hash table from pairs of 32-bit numbers to one: the inner loop of merging looks up
// nothing else. Open addressing with linear probing, at most half full. Built once, then read by
// any number of threads.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "config/mix.h"

namespace troupe {

class PairTable {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  /// `pairs`: how many set() calls will follow at most.
  explicit PairTable(size_t pairs)
      : slots_(std::bit_ceil(2 * pairs + 2)), mask_(slots_.size() - 1) {}

  /// A second value for the same pair replaces the first.
  void set(uint32_t left, uint32_t right, uint32_t value) {
    slots_[slot_of(left, right)] = {left, right, value};
  }

  /// kNone if the pair was never set.
  uint32_t find(uint32_t left, uint32_t right) const { return slots_[slot_of(left, right)].value; }

 private:
  struct Slot {
    uint32_t left = 0, right = 0, value = kNone;
  };

  size_t slot_of(uint32_t left, uint32_t right) const {
    size_t i = mix64((uint64_t{left} << 32) | right) & mask_;
    while (slots_[i].value != kNone && (slots_[i].left != left || slots_[i].right != right))
      i = (i + 1) & mask_;
    return i;
  }

  std::vector<Slot> slots_;
  size_t mask_;
};

}  // namespace troupe
