#include "model/rope_scaling.h"

#include <numbers>

namespace troupe {

namespace {

/// Long wavelengths are stretched by `factor`, short ones kept, those between blended.
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

double scaled_frequency(double frequency, const RopeSpec& rope) {
  switch (rope.scaling) {
    case RopeScaling::none:
      return frequency;
    case RopeScaling::linear:
      return frequency / rope.factor;
    case RopeScaling::llama3:
      return llama3_scaled(frequency, rope);
  }
  return frequency;
}

}  // namespace troupe
