#include "model/torch/rope.h"

#include <cmath>

#include "model/rope_scaling.h"

namespace troupe::torch_backend {

std::vector<double> rope_frequencies(const RopeSpec& rope, int32_t head_dim,
                                     std::span<const float> divisors) {
  std::vector<double> frequencies(static_cast<size_t>(head_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double frequency = std::pow(rope.base, -2.0 * static_cast<double>(i) / head_dim);
    frequency = divisors.empty() ? scaled_frequency(frequency, rope) : frequency / divisors[i];
    frequencies[i] = frequency;
  }
  return frequencies;
}

RopeTable::RopeTable(std::span<const double> frequencies, int32_t positions)
    : half_(frequencies.size()) {
  cosine_.reserve(static_cast<size_t>(positions) * half_);
  sine_.reserve(static_cast<size_t>(positions) * half_);
  for (int32_t pos = 0; pos < positions; ++pos)
    for (double frequency : frequencies) {
      cosine_.push_back(static_cast<float>(std::cos(pos * frequency)));
      sine_.push_back(static_cast<float>(std::sin(pos * frequency)));
    }
}

}  // namespace troupe::torch_backend
