// How a matrix multiplication over many units (heads, FFN groups, panels) and tiles of rows is cut
// into chunks for the pool: a chunk should take about 10 us, so that no thread waits long for
// another, and read its weights front to back. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include "model/native/activations.h"

namespace troupe::native {

class PhaseCut {
 public:
  /// `unit_bytes` of weights and `unit_macs` multiplications a row.
  PhaseCut(int32_t units, int64_t unit_bytes, int64_t unit_macs, const Tiling& tiling,
           int32_t threads)
      : units_(units), tiles_(tiling.count) {
    // Rough rates of one core; they only size chunks.
    constexpr double kBytesPerNs = 20, kMacsPerNs = 100, kChunkNs = 10'000;
    const double unit_ns = std::max(static_cast<double>(unit_bytes) / kBytesPerNs,
                                    static_cast<double>(unit_macs) * tiling.rows / kMacsPerNs);
    if (unit_ns > 1.5 * kChunkNs) {
      tiles_per_chunk_ = std::clamp(static_cast<int32_t>(tiles_ * kChunkNs / unit_ns), 1, tiles_);
    } else {
      const int32_t fair = std::max(1, units / (3 * threads));
      tiles_per_chunk_ = std::max(tiles_, 1);
      units_per_chunk_ = std::clamp(static_cast<int32_t>(kChunkNs / unit_ns), 1, fair);
    }
    tile_chunks_ = (tiles_ + tiles_per_chunk_ - 1) / tiles_per_chunk_;
  }

  int32_t chunks() const {
    return (units_ + units_per_chunk_ - 1) / units_per_chunk_ * tile_chunks_;
  }

  /// body(unit, tile) for all pairs of a chunk; units outside, so that a unit's weights stay near.
  template <class Body>
  void each(int32_t chunk, Body&& body) const {
    const int32_t unit0 = chunk / tile_chunks_ * units_per_chunk_;
    const int32_t tile0 = chunk % tile_chunks_ * tiles_per_chunk_;
    const int32_t unit_end = std::min(units_, unit0 + units_per_chunk_);
    const int32_t tile_end = std::min(tiles_, tile0 + tiles_per_chunk_);
    for (int32_t unit = unit0; unit < unit_end; ++unit)
      for (int32_t tile = tile0; tile < tile_end; ++tile) body(unit, tile);
  }

 private:
  int32_t units_, tiles_, units_per_chunk_ = 1, tiles_per_chunk_ = 1, tile_chunks_ = 1;
};

}  // namespace troupe::native
