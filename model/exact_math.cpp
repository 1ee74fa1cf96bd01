#include "model/exact_math.h"

#include "model/native/vector_kernels.h"

namespace troupe {

namespace {

/// All instruction sets give the same bits, so the best one serves every backend.
const native::VectorKernels& kernels() {
  static const native::VectorKernels& best = native::vector_kernels_for(native::best_isa());
  return best;
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
  kernels().exp_scaled(in.data(), static_cast<int32_t>(in.size()), max, scale, out.data());
}

BlockSum exact_block_sum(std::span<const float> block) {
  BlockSum sum;
  if (!block.empty())
    sum.finite =
        kernels().block_sum(block.data(), static_cast<int32_t>(block.size()), &sum.max, &sum.sum);
  return sum;
}

Largest exact_largest(std::span<const float> values) {
  Largest out;
  out.index = kernels().argmax(values.data(), static_cast<int32_t>(values.size()), &out.finite);
  return out;
}

size_t find_between(std::span<const float> values, float low, float high, std::span<int32_t> out) {
  return static_cast<size_t>(
      kernels().between(values.data(), static_cast<int32_t>(values.size()), low, high, out.data()));
}

}  // namespace troupe
