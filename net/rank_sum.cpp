#include "net/rank_sum.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace troupe {

void sum_in_rank_order(std::span<std::byte> sum, std::span<const std::byte* const> addends) {
  constexpr size_t kTile = 256;
  std::array<float, kTile> total, addend;
  for (size_t at = 0; at < sum.size(); at += sizeof total) {
    const size_t bytes = std::min(sizeof total, sum.size() - at);
    std::memcpy(total.data(), addends.front() + at, bytes);
    for (const std::byte* from : addends.subspan(1)) {
      std::memcpy(addend.data(), from + at, bytes);
      for (size_t i = 0; i < bytes / sizeof(float); ++i) total[i] += addend[i];
    }
    std::memcpy(sum.data() + at, total.data(), bytes);
  }
}

}  // namespace troupe
