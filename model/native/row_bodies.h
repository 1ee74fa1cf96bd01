// Norm, quantisation, rotation and SwiGLU of a row (N5, N6, N9, N10, N4 of docs/performance.md),
// written once over 16 lanes. Promises: vector_kernels.h. Include one f32x16_*.h first.
#pragma once

#include <cstdint>

#include "model/native/lane_math.h"
#include "model/native/vector_kernels.h"

namespace troupe::native {
namespace {

void rms_norm(const float* x, const float* w, int32_t n, float eps, float* y) {
  F32x16 squares = broadcast(0.0f);
  for_lanes(n, [&](int32_t i, auto lanes) {
    const F32x16 v = load_some(x + i, lanes);
    squares = fma(v, v, squares);
  });
  const F32x16 mean = broadcast(hsum(squares) / static_cast<float>(n) + eps);
  const F32x16 r = broadcast(1.0f) / sqrt(mean);
  for_lanes(n, [&](int32_t i, auto lanes) {
    store_some(y + i, (load_some(x + i, lanes) * r) * load_some(w + i, lanes), lanes);
  });
}

/// 2^-64 as bits: smaller groups count as zeros.
constexpr int32_t kSmallestGroupBits = (127 - 64) << 23;

bool quantise(const float* x, int32_t n, const QuantisedRow& row) {
  const QuantisedRow out = row;  // a copy: what is written can't alias it
  int32_t largest = 0;
  for (int32_t k = 0, g = 0; k < n; k += 32, ++g) {
    const bool whole = k + 32 <= n;
    const int left = n - k;
    const F32x16 a = whole || left >= 16 ? load(x + k) : load_first(x + k, left);
    const F32x16 b = whole        ? load(x + k + 16)
                     : left <= 16 ? broadcast(0.0f)
                                  : load_first(x + k + 16, left - 16);
    int32_t amax_bits = hmax(max(magnitude(a), magnitude(b)));
    largest = amax_bits > largest ? amax_bits : largest;
    // A group that isn't finite makes the caller stop; until then it is treated as zeros.
    if (amax_bits >= kInfinityBits || amax_bits < kSmallestGroupBits) amax_bits = 0;
    const float amax = __builtin_bit_cast(float, amax_bits);
    const F32x16 id = broadcast(amax_bits == 0 ? 0.0f : 127.0f / amax);
    const F32x16 zero = broadcast(0.0f);
    const I32x16 qa = round_to_int(amax_bits == 0 ? zero : a * id);
    const I32x16 qb = round_to_int(amax_bits == 0 ? zero : b * id);
    int8_t* q = out.q + g * out.q_stride;
    store_i8(q, qa);
    store_i8(q + 16, qb);
    int32_t sums[2];
    hsums(qa, qb, sums);
    const int32_t sum = sums[0] + sums[1];
    const float s = amax / 127.0f;
    out.s[g * out.stride] = s;
    out.p[g * out.stride] = s * static_cast<float>(sum);
    if (out.minus8 != nullptr) out.minus8[g * out.stride] = -8 * sum;
    if (out.minus128 != nullptr) out.minus128[g * out.stride] = -128 * sum;
    if (out.minus128_of[0] != nullptr)
      for (int half = 0; half < 2; ++half)
        out.minus128_of[half][g * out.stride] = -128 * sums[half];
  }
  return largest < kInfinityBits;
}

void keep_rest(float* x, int32_t n, const QuantisedRow& of) {
  for (int32_t k = 0, g = 0; k < n; k += 32, ++g) {
    const F32x16 minus_s = broadcast(-of.s[g * of.stride]);
    const int8_t* q = of.q + g * of.q_stride;
    for_lanes(n - k < 32 ? n - k : 32, [&](int32_t i, auto lanes) {
      store_some(x + k + i, fma(minus_s, load_i8(q + i), load_some(x + k + i, lanes)), lanes);
    });
  }
}

void add(float* x, const float* y, int32_t n) {
  for_lanes(n, [&](int32_t i, auto lanes) {
    store_some(x + i, load_some(x + i, lanes) + load_some(y + i, lanes), lanes);
  });
}

void add_rows(float* x, int64_t x_stride, const float* y, int64_t y_stride, int32_t rows,
              int32_t n) {
  for (; rows > 0; --rows, x += x_stride, y += y_stride) add(x, y, n);
}

void rotate(float* head, int32_t n, const float* cos, const float* sin, float scale) {
  float* upper = head + n / 2;
  const F32x16 factor = broadcast(scale);
  for_lanes(n / 2, [&](int32_t i, auto lanes) {
    const F32x16 a = load_some(head + i, lanes), b = load_some(upper + i, lanes);
    const F32x16 c = load_some(cos + i, lanes), s = load_some(sin + i, lanes);
    F32x16 y0 = fma(a, c, -(b * s));
    F32x16 y1 = fma(b, c, a * s);
    if (scale != 1.0f) {
      y0 = y0 * factor;
      y1 = y1 * factor;
    }
    store_some(head + i, y0, lanes);
    store_some(upper + i, y1, lanes);
  });
}

void silu_mul(const float* gate, const float* up, int32_t n, float* out) {
  for_lanes(n, [&](int32_t i, auto lanes) {
    const F32x16 g = load_some(gate + i, lanes);
    const F32x16 silu = g / (broadcast(1.0f) + exp(-g));
    store_some(out + i, silu * load_some(up + i, lanes), lanes);
  });
}

}  // namespace
}  // namespace troupe::native
