// One group of 32 weights of a row as a file stores it, in the form packed_matrix.h keeps: whole
// numbers, four to a word, and what they are multiplied by.
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/dtype.h"

namespace troupe::native {

struct FileGroup {
  /// Weight k is byte k % 4 of words[k / 4]: q of packed_matrix.h, int8 or (4 bits, 5 bits with a
  /// minimum) never negative.
  uint32_t words[8];
  /// Bits of d and m: float16 in the low half, or float32, as the format keeps them.
  uint32_t d = 0, m = 0;
  uint8_t sc0 = 0, sc1 = 0;  ///< Q6_K: int8 scales of inputs 0..15 and 16..31
};

/// Reads group `group` of the row at `row`. Pure; the row must hold the group.
using ReadFileGroup = FileGroup (*)(const std::byte* row, int32_t group);

/// The reader of a quantised dtype; null for F32, F16 and BF16.
ReadFileGroup file_group_reader(DType dtype);

}  // namespace troupe::native
