// What every body over 16 lanes shares: loops over lanes or known at compile time, and exp
// (N4 of docs/performance.md). Include one f32x16_*.h first.
#pragma once

#include <cstdint>

namespace troupe::native {
namespace {

template <int kValue>
struct Index {
  static constexpr int value = kValue;
};

/// f(Index<0>) ... f(Index<kCount - 1>), written out: arrays of accumulators indexed so stay in
/// registers with every compiler.
template <int kCount, class F>
[[gnu::always_inline]] inline void unroll(const F& f) {
  if constexpr (kCount > 0) {
    unroll<kCount - 1>(f);
    f(Index<kCount - 1>{});
  }
}

/// f(start, lanes) for each run of 16; only the last may have fewer lanes.
template <class F>
[[gnu::always_inline]] inline void for_lanes(int32_t n, const F& f) {
  int32_t i = 0;
  for (; i + 16 <= n; i += 16) f(i, Index<16>{});
  if (i < n) f(i, n - i);
}
[[gnu::always_inline]] inline F32x16 load_some(const float* from, Index<16>) { return load(from); }
[[gnu::always_inline]] inline F32x16 load_some(const float* from, int n) {
  return load_first(from, n);
}
[[gnu::always_inline]] inline void store_some(float* to, F32x16 x, Index<16>) { store(to, x); }
[[gnu::always_inline]] inline void store_some(float* to, F32x16 x, int n) { store_first(to, x, n); }

inline constexpr float kMinusInfinity = -__builtin_inff();
inline constexpr int32_t kInfinityBits = 0x7f800000;

/// N4. A NaN stays one.
[[gnu::always_inline]] inline F32x16 exp(F32x16 x) {
  const F32x16 rounder = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const F32x16 tiny = x;
  x = min(broadcast(88.0f), x);
  const F32x16 biased = x * broadcast(1.44269504f) + rounder;
  const F32x16 n = biased - rounder;
  F32x16 r = fma(n, broadcast(-0.693359375f), x);
  r = fma(n, broadcast(2.12194440e-4f), r);
  F32x16 p = broadcast(1.9875691500e-4f);
  p = fma(p, r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  const F32x16 y = fma(p, r * r, r) + broadcast(1.0f);
  return select_less(tiny, broadcast(-64.0f), broadcast(0.0f), scale_by_biased(y, biased));
}

}  // namespace
}  // namespace troupe::native
