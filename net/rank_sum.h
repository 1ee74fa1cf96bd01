// Adds what the ranks gave, in rank order. Any thread.
#pragma once

#include <cstddef>
#include <span>

namespace troupe {

/// sum[i] = ((r0[i] + r1[i]) + r2[i]) ... over the f32 values of sum.size() bytes (whole values; at
/// any alignment). `sum` may be one of the addends.
void sum_in_rank_order(std::span<std::byte> sum, std::span<const std::byte* const> addends);

}  // namespace troupe
