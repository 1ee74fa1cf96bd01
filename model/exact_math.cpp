#include "model/exact_math.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace troupe {

namespace {

constexpr size_t kLanes = 16;

// One body, compiled twice below: with fma instructions and without (then each fma is a library
// call that rounds the same). The compiler vectorises the fixed loops of 16.
[[gnu::always_inline]] inline void exp_scaled_body(std::span<const float> in, float max,
                                                   float scale, std::span<float> out) {
  for (size_t i = 0; i < in.size(); ++i) out[i] = exact_exp((in[i] - max) * scale);
}

[[gnu::always_inline]] inline BlockSum block_sum_body(std::span<const float> block) {
  // All comparisons are made on integers, so that a NaN can't slip through.
  float max = -std::numeric_limits<float>::infinity();
  uint32_t largest_magnitude = 0;
  for (float z : block) {
    max = z > max ? z : max;
    largest_magnitude = std::max(largest_magnitude, std::bit_cast<uint32_t>(z) & 0x7fffffffu);
  }
  float lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= block.size(); i += kLanes)
    for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += exact_exp(block[i + lane] - max);
  for (size_t lane = 0; i < block.size(); ++i, ++lane) lanes[lane] += exact_exp(block[i] - max);
  for (size_t half = kLanes / 2; half > 0; half /= 2)
    for (size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  return {max, lanes[0], largest_magnitude < 0x7f800000u};
}

[[gnu::target("avx2,fma")]] void exp_scaled_fma(std::span<const float> in, float max, float scale,
                                                std::span<float> out) {
  exp_scaled_body(in, max, scale, out);
}
void exp_scaled_plain(std::span<const float> in, float max, float scale, std::span<float> out) {
  exp_scaled_body(in, max, scale, out);
}
[[gnu::target("avx2,fma")]] BlockSum block_sum_fma(std::span<const float> block) {
  return block_sum_body(block);
}
BlockSum block_sum_plain(std::span<const float> block) { return block_sum_body(block); }

bool have_fma() {
  static const bool have = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return have;
}

}  // namespace

double exact_log(double x) {
  // x = m * 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m-1)/(m+1), |s| < 0.172.
  const auto bits = std::bit_cast<uint64_t>(x);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0xfffffffffffffu) | 0x3ff0000000000000u);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    exponent += 1;
  }
  const double s = (m - 1) / (m + 1), s2 = s * s;
  double series = 0;
  for (int k = 23; k >= 1; k -= 2) series = series * s2 + 1.0 / k;
  constexpr double kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;
  return exponent * kLn2High + (2 * s * series + exponent * kLn2Low);
}

void exact_exp_scaled(std::span<const float> in, float max, float scale, std::span<float> out) {
  have_fma() ? exp_scaled_fma(in, max, scale, out) : exp_scaled_plain(in, max, scale, out);
}

BlockSum exact_block_sum(std::span<const float> block) {
  return have_fma() ? block_sum_fma(block) : block_sum_plain(block);
}

}  // namespace troupe
