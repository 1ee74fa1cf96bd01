#include "model/native/exact_trig.h"

#include <array>
#include <bit>

namespace troupe::native {

namespace {

// -- double-double: an unevaluated sum of about 106 bits -----------------------------------------
struct Pair {
  double high = 0, low = 0;
};

Pair quick_sum(double a, double b) {  // |a| >= |b|
  const double s = a + b;
  return {s, b - (s - a)};
}
Pair two_sum(double a, double b) {
  const double s = a + b, bb = s - a;
  return {s, (a - (s - bb)) + (b - bb)};
}
Pair operator+(Pair a, Pair b) {
  const Pair s = two_sum(a.high, b.high);
  return quick_sum(s.high, s.low + (a.low + b.low));
}
Pair operator*(Pair a, Pair b) {
  const double p = a.high * b.high;
  const double e = __builtin_fma(a.high, b.high, -p);
  return quick_sum(p, e + (a.high * b.low + a.low * b.high));
}
Pair operator/(Pair a, Pair b) {
  const double q = a.high / b.high;
  const Pair rest = a + Pair{-q, 0} * b;
  return quick_sum(q, (rest.high + rest.low) / b.high);
}

constexpr Pair kLn2 = {0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56};
constexpr double kRounder = 0x1.8p52;  // adding it rounds to an integer

/// ln x = e ln 2 + 2 atanh(s), s = (m - 1) / (m + 1), x = m 2^e, |s| < 0.172.
Pair log_pair(double x) {
  const auto bits = std::bit_cast<uint64_t>(x);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0xfffffffffffffu) | 0x3ff0000000000000u);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    exponent += 1;
  }
  const Pair s = two_sum(m, -1) / two_sum(m, 1), s2 = s * s;
  Pair series;
  for (int k = 43; k >= 1; k -= 2) series = series * s2 + Pair{1, 0} / Pair{double(k), 0};
  return Pair{double(exponent), 0} * kLn2 + Pair{2, 0} * s * series;
}

/// exp of a pair in about -700 .. 0.
double exp_of(Pair x) {
  const double n = (x.high / kLn2.high + kRounder) - kRounder;
  const Pair r = x + Pair{-n, 0} * kLn2;
  Pair series = {1, 0};
  for (int k = 26; k >= 1; --k) series = series * (r / Pair{double(k), 0}) + Pair{1, 0};
  const auto exponent = static_cast<uint64_t>(1023 + static_cast<int64_t>(n)) << 52;
  return series.high * std::bit_cast<double>(exponent);
}

// -- sine and cosine -----------------------------------------------------------------------------
constexpr double kHalfPi = 0x1.921fb54442d18p+0, kHalfPiLow = 0x1.1a62633145c07p-54;
constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;

/// 1/k! for the Taylor series.
constexpr std::array<double, 19> kInverseFactorial = [] {
  std::array<double, 19> out{1};
  double factorial = 1;  // exact up to 18!
  for (size_t k = 1; k < out.size(); ++k) {
    factorial *= static_cast<double>(k);
    out[k] = 1 / factorial;
  }
  return out;
}();

[[gnu::always_inline]] inline void rotation_body(int32_t position,
                                                 std::span<const double> frequencies, float* cosine,
                                                 float* sine) {
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double x = static_cast<double>(position) * frequencies[i];
    const double biased = x * kTwoOverPi + kRounder, n = biased - kRounder;
    // n * kHalfPi and x are multiples of 2^-53 and nearly equal: the first fma is exact.
    const double r = __builtin_fma(-n, kHalfPiLow, __builtin_fma(-n, kHalfPi, x));
    const double minus_r2 = -(r * r);
    // Up to r^17 and r^18: what is left out is below 2^-60 for |r| <= pi/4.
    double s = kInverseFactorial[17], c = kInverseFactorial[18];
#pragma GCC unroll 8
    for (size_t k = 15; k >= 3; k -= 2) s = __builtin_fma(s, minus_r2, kInverseFactorial[k]);
#pragma GCC unroll 8
    for (size_t k = 16; k >= 2; k -= 2) c = __builtin_fma(c, minus_r2, kInverseFactorial[k]);
    // s is 1/3! - r^2/5! + ..., c is 1/2! - r^2/4! + ...
    const double sin_r = __builtin_fma(r * minus_r2, s, r);
    const double cos_r = __builtin_fma(c, minus_r2, 1.0);
    const auto quadrant = std::bit_cast<uint64_t>(biased) & 3;
    const double a = quadrant & 1 ? sin_r : cos_r, b = quadrant & 1 ? cos_r : sin_r;
    cosine[i] = static_cast<float>(((quadrant + 1) & 2) != 0 ? -a : a);
    sine[i] = static_cast<float>((quadrant & 2) != 0 ? -b : b);
  }
}

#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] void rotation_fma(int32_t position, std::span<const double> frequencies,
                                              float* cosine, float* sine) {
  rotation_body(position, frequencies, cosine, sine);
}
bool have_fma() {
  static const bool have = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return have;
}
#endif

}  // namespace

void exact_rotation(int32_t position, std::span<const double> frequencies, float* cosine,
                    float* sine) {
#if defined(__x86_64__)
  // Without the instruction each fma is a library call that rounds the same.
  if (have_fma()) return rotation_fma(position, frequencies, cosine, sine);
#endif
  rotation_body(position, frequencies, cosine, sine);
}

double exact_inverse_power(double base, int32_t numerator, int32_t denominator) {
  const Pair exponent = Pair{-double(numerator), 0} / Pair{double(denominator), 0};
  return exp_of(exponent * log_pair(base));
}

}  // namespace troupe::native
