// Rotary position embedding (Su et al. 2021) as tables: cos and sin of position * frequency.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/model_spec.h"

namespace troupe::torch_backend {

/// Angle per position of each pair (i, i + head_dim/2): base^(-2i/head_dim), scaled by linear or
/// llama3 scaling, or divided by the file's own `divisors` (empty if it has none).
std::vector<double> rope_frequencies(const RopeSpec& rope, int32_t head_dim,
                                     std::span<const float> divisors);

class RopeTable {
 public:
  RopeTable() = default;
  RopeTable(std::span<const double> frequencies, int32_t positions);
  std::span<const float> cosine(int32_t pos) const { return row(cosine_, pos); }
  std::span<const float> sine(int32_t pos) const { return row(sine_, pos); }

 private:
  std::span<const float> row(const std::vector<float>& table, int32_t pos) const {
    return std::span(table).subspan(static_cast<size_t>(pos) * half_, half_);
  }
  size_t half_ = 0;
  std::vector<float> cosine_, sine_;  ///< [positions, head_dim / 2]
};

}  // namespace troupe::torch_backend
