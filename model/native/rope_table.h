// Cosines and sines of the rotary embedding (Su et al. 2021) in float32, made in double from + - *
// / and fma only (N4, N10 of docs/performance.md): every machine and compiler gets the same table.
//
// Rows are made on demand, 256 positions at a time, and never move. ensure() and construction are
// for one thread, at the start of a step; cos() and sin() for any thread afterwards.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/model_spec.h"

namespace troupe::native {

class RopeTable {
 public:
  /// Positions 0 .. context-1 of pairs (i, i + head_dim/2). `divisors` of the frequencies come from
  /// the file: head_dim/2 of them, or none. Makes the first 256 positions.
  RopeTable(const RopeSpec& rope, int32_t head_dim, int32_t context,
            std::span<const float> divisors);

  /// Makes all positions below `positions` readable. Allocates only where there is something to
  /// make; `positions` <= context.
  void ensure(int32_t positions);

  /// head_dim/2 values, 64-byte aligned where that is a multiple of 16. Only below an ensured
  /// position.
  const float* cos(int32_t position) const { return row(position, 0); }
  const float* sin(int32_t position) const { return row(position, 1); }

  /// Angle per position of each pair.
  std::span<const double> frequencies() const { return frequencies_; }
  /// Of the frequencies, the first 256 positions and the powers of two below `context`: part of
  /// numerics_id. `context` is the model's: the table's own depends on the memory there is.
  uint64_t checksum(int32_t context) const;

 private:
  static constexpr int32_t kChunk = 256;
  struct Free {
    void operator()(float* block) const;
  };
  const float* row(int32_t position, int32_t which) const {
    const auto chunk = static_cast<size_t>(position / kChunk);
    return chunks_[chunk].get() +
           (position % kChunk * 2 + which) * static_cast<int64_t>(frequencies_.size());
  }

  std::vector<double> frequencies_;
  std::vector<std::unique_ptr<float, Free>> chunks_;  ///< [chunk] -> [position][cos, sin][pair]
  int32_t ready_ = 0;                                 ///< chunks made
};

}  // namespace troupe::native
