#include "model/torch/rope.h"

#include <cmath>
#include <numbers>

namespace troupe::torch_backend {

namespace {

/// Meta's Llama 3.1 rule: long wavelengths are stretched by `factor`, short ones kept, those
/// between blended.
double llama3_scaled(double frequency, const RopeSpec& rope) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double context = rope.original_context;
  if (wavelength < context / rope.high_freq_factor) return frequency;
  if (wavelength > context / rope.low_freq_factor) return frequency / rope.factor;
  const double blend = (context / wavelength - rope.low_freq_factor) /
                       (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - blend) * frequency / rope.factor + blend * frequency;
}

}  // namespace

std::vector<double> rope_frequencies(const RopeSpec& rope, int32_t head_dim,
                                     std::span<const float> divisors) {
  std::vector<double> frequencies(static_cast<size_t>(head_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double frequency = std::pow(rope.base, -2.0 * static_cast<double>(i) / head_dim);
    if (!divisors.empty()) {
      frequency /= divisors[i];
    } else if (rope.scaling == RopeScaling::linear) {
      frequency /= rope.factor;
    } else if (rope.scaling == RopeScaling::llama3) {
      frequency = llama3_scaled(frequency, rope);
    }
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
