// Sixteen float32 lanes as a plain array and fmaf: the normative back end of N2 of
// docs/performance.md, and the oracle of the other two (f32x16_avx2.h, f32x16_avx512.h), which
// offer the same names. A file includes exactly one of the three, and then the bodies written over
// it.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "model/dtype.h"

namespace troupe::native {
namespace {

/// How many accumulators an inner loop keeps alive: what the registers hold, for the other two.
constexpr int kAccumulators = 2;

struct I32x16 {
  int32_t lane[16];
};
struct F32x16 {
  float lane[16];
};

template <class Make>
[[gnu::always_inline]] inline F32x16 each_float(Make make) {
  F32x16 out;
  for (int i = 0; i < 16; ++i) out.lane[i] = make(i);
  return out;
}
template <class Make>
[[gnu::always_inline]] inline I32x16 each_int(Make make) {
  I32x16 out;
  for (int i = 0; i < 16; ++i) out.lane[i] = make(i);
  return out;
}

// -- memory. `_first`: lanes 0 .. n-1 only (n in 0..16); the others read as +0 and aren't touched.
inline F32x16 broadcast(float x) {
  return each_float([&](int) { return x; });
}
inline F32x16 load(const float* from) {
  return each_float([&](int i) { return from[i]; });
}
inline F32x16 load_first(const float* from, int n) {
  return each_float([&](int i) { return i < n ? from[i] : 0.0f; });
}
inline void store_first(float* to, F32x16 x, int n) {
  for (int i = 0; i < n; ++i) to[i] = x.lane[i];
}
inline void store(float* to, F32x16 x) { store_first(to, x, 16); }
inline F32x16 load_f16_first(const uint16_t* from, int n) {
  return each_float([&](int i) { return i < n ? f16_to_f32(from[i]) : 0.0f; });
}
inline F32x16 load_f16(const uint16_t* from) { return load_f16_first(from, 16); }
/// Rounds to nearest even.
inline void store_f16(uint16_t* to, F32x16 x) {
  for (int i = 0; i < 16; ++i) to[i] = f32_to_f16(x.lane[i]);
}
inline F32x16 load_i8_first(const int8_t* from, int n) {
  return each_float([&](int i) { return i < n ? static_cast<float>(from[i]) : 0.0f; });
}
inline F32x16 load_i8(const int8_t* from) { return load_i8_first(from, 16); }
/// Every lane must lie in -128..127.
inline void store_i8(int8_t* to, I32x16 x) {
  for (int i = 0; i < 16; ++i) to[i] = static_cast<int8_t>(x.lane[i]);
}

// -- arithmetic, each operation rounded once
inline F32x16 operator+(F32x16 a, F32x16 b) {
  return each_float([&](int i) { return a.lane[i] + b.lane[i]; });
}
inline F32x16 operator-(F32x16 a, F32x16 b) {
  return each_float([&](int i) { return a.lane[i] - b.lane[i]; });
}
inline F32x16 operator*(F32x16 a, F32x16 b) {
  return each_float([&](int i) { return a.lane[i] * b.lane[i]; });
}
inline F32x16 operator/(F32x16 a, F32x16 b) {
  return each_float([&](int i) { return a.lane[i] / b.lane[i]; });
}
inline F32x16 operator-(F32x16 a) {
  return each_float([&](int i) { return -a.lane[i]; });
}
inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return each_float([&](int i) { return __builtin_fmaf(a.lane[i], b.lane[i], c.lane[i]); });
}
inline F32x16 sqrt(F32x16 x) {
  return each_float([&](int i) { return std::sqrt(x.lane[i]); });
}
/// a > b ? a : b, so a NaN in `b` stays and one in `a` is dropped; min alike.
inline F32x16 max(F32x16 a, F32x16 b) {
  return each_float([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline F32x16 min(F32x16 a, F32x16 b) {
  return each_float([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
/// a < b ? yes : no
inline F32x16 select_less(F32x16 a, F32x16 b, F32x16 yes, F32x16 no) {
  return each_float([&](int i) { return a.lane[i] < b.lane[i] ? yes.lane[i] : no.lane[i]; });
}
/// Lanes from <= i < to of `x`, the others of `other`.
inline F32x16 keep_lanes(F32x16 x, int from, int to, F32x16 other) {
  return each_float([&](int i) { return i >= from && i < to ? x.lane[i] : other.lane[i]; });
}
/// Bit i: a < b in lane i.
inline uint32_t lanes_less(F32x16 a, F32x16 b) {
  uint32_t bits = 0;
  for (int i = 0; i < 16; ++i) bits |= static_cast<uint32_t>(a.lane[i] < b.lane[i]) << i;
  return bits;
}
/// Index of the first lane that equals x, or 16.
inline int first_equal(F32x16 a, F32x16 x) {
  int i = 0;
  while (i < 16 && !(a.lane[i] == x.lane[i])) ++i;
  return i;
}

// -- across lanes: lane i with lane i+8, then +4, +2, +1
inline float hsum(F32x16 x) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) x.lane[i] = x.lane[i] + x.lane[i + half];
  return x.lane[0];
}
inline float hmax(F32x16 x) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i)
      x.lane[i] = x.lane[i] > x.lane[i + half] ? x.lane[i] : x.lane[i + half];
  return x.lane[0];
}

// -- integers
/// The number's bits without the sign: ordered as magnitudes, infinity and NaN above all others.
inline I32x16 magnitude(F32x16 x) {
  return each_int([&](int i) { return std::bit_cast<int32_t>(x.lane[i]) & 0x7fffffff; });
}
inline I32x16 max(I32x16 a, I32x16 b) {
  return each_int([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
/// The sum of either's lanes.
inline void hsums(I32x16 a, I32x16 b, int32_t out[2]) {
  out[0] = out[1] = 0;
  for (int i = 0; i < 16; ++i) out[0] += a.lane[i], out[1] += b.lane[i];
}
inline int32_t hmax(I32x16 x) {
  int32_t largest = x.lane[0];
  for (int32_t value : x.lane) largest = value > largest ? value : largest;
  return largest;
}
/// To nearest even; |x| < 2^22.
inline I32x16 round_to_int(F32x16 x) {
  return each_int([&](int i) {
    return static_cast<int32_t>((x.lane[i] + 12582912.0f) - 12582912.0f);  // 1.5 * 2^23
  });
}
/// x * 2^n, where n is the integer that was added to 1.5 * 2^23 to give `biased`; both the number
/// and the result are normal.
inline F32x16 scale_by_biased(F32x16 x, F32x16 biased) {
  return each_float([&](int i) {
    return std::bit_cast<float>(std::bit_cast<uint32_t>(x.lane[i]) +
                                (std::bit_cast<uint32_t>(biased.lane[i]) << 23));
  });
}

}  // namespace
}  // namespace troupe::native
