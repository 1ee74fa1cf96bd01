// exp, log and sums whose every bit is fixed by the numeric contract (N3, N4, N14), so that a draw
// or a log-probability does not depend on glibc, compiler or instruction set. Compiled with
// -ffp-contract=off: fma happens only where it is written. Pure functions, any thread.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

namespace troupe {

/// N4: exp in float32; inputs below -64 give +0, above 88 are cut there.
[[gnu::always_inline]] inline float exact_exp(float x) {
  x = x < 88.0f ? x : 88.0f;
  const bool tiny = x < -64.0f;
  x = tiny ? -64.0f : x;
  // Adding and taking away 1.5 * 2^23 rounds to the nearest integer, ties to even.
  const float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
  float r = __builtin_fmaf(n, -0.693359375f, x);
  r = __builtin_fmaf(n, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f;
  p = __builtin_fmaf(p, r, 1.3981999507e-3f);
  p = __builtin_fmaf(p, r, 8.3334519073e-3f);
  p = __builtin_fmaf(p, r, 4.1665795894e-2f);
  p = __builtin_fmaf(p, r, 1.6666665459e-1f);
  p = __builtin_fmaf(p, r, 5.0000001201e-1f);
  const float y = __builtin_fmaf(p, r * r, r) + 1.0f;
  const int32_t exponent = static_cast<int32_t>(n) * (1 << 23);
  const float scaled = std::bit_cast<float>(std::bit_cast<int32_t>(y) + exponent);
  return tiny ? 0.0f : scaled;
}

/// Natural logarithm of a finite number > 0 in double, by + - * / only.
double exact_log(double x);

/// out[i] = exact_exp((in[i] - max) * scale).
void exact_exp_scaled(std::span<const float> in, float max, float scale, std::span<float> out);

/// Of one block of N14 (at most 256 values): the largest, and sum exp(z - max) by N3. `finite` is
/// false when a value is NaN or infinite; the rest is then meaningless.
struct BlockSum {
  float max = 0, sum = 0;
  bool finite = true;
};
inline constexpr size_t kLogprobBlock = 256;
BlockSum exact_block_sum(std::span<const float> block);

/// Index of the largest value, ties to the lowest. `finite` is false when a value is NaN or
/// infinite. `values` is not empty.
struct Largest {
  int32_t index = 0;
  bool finite = true;
};
Largest exact_largest(std::span<const float> values);

/// Writes the indices i with low <= values[i] < high, ascending, to the front of `out`, which has
/// room for all of them; returns how many.
size_t find_between(std::span<const float> values, float low, float high, std::span<int32_t> out);

}  // namespace troupe
