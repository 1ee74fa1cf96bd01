// How fast this machine reads memory: the ceiling of decoding, where every token reads all weights.
#pragma once

#include <cstdint>

#include "config/result.h"

namespace troupe {

/// Bytes a second that `threads` threads sum up together, each its own contiguous part of a buffer
/// of `bytes` in huge pages: the best of `rounds` passes. too_large when there is no memory for it.
Result<double> read_bandwidth(int64_t bytes, int32_t threads, int32_t rounds);

}  // namespace troupe
