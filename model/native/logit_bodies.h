// What is asked of logits (N13-N15 of docs/performance.md), written once over 16 lanes. Promises:
// vector_kernels.h. Include one f32x16_*.h first.
#pragma once

#include <cstdint>

#include "model/native/lane_math.h"
#include "model/native/vector_kernels.h"

namespace troupe::native {
namespace {

/// Two passes: the largest value, then the first place where it stands. Both run at the speed of
/// the cache, where one pass with indices in lanes would not.
int32_t argmax(const float* z, int32_t n, bool* finite) {
  F32x16 best = broadcast(kMinusInfinity), best_b = best;
  I32x16 largest = magnitude(broadcast(0.0f)), largest_b = largest;
  const int32_t whole = n / 16 * 16;
  int32_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const F32x16 a = load(z + i), b = load(z + i + 16);
    best = max(a, best);
    best_b = max(b, best_b);
    largest = max(magnitude(a), largest);
    largest_b = max(magnitude(b), largest_b);
  }
  for (; i < whole; i += 16) {
    const F32x16 a = load(z + i);
    best = max(a, best);
    largest = max(magnitude(a), largest);
  }
  if (i < n) {
    const F32x16 a = load_first(z + i, n - i);
    best = max(keep_lanes(a, 0, n - i, best), best);
    largest = max(magnitude(a), largest);
  }
  if (hmax(max(largest, largest_b)) >= kInfinityBits) *finite = false;
  const float top = hmax(max(best_b, best));
  for (i = 0; i < whole; i += 16) {
    const int lane = first_equal(load(z + i), broadcast(top));
    if (lane < 16) return i + lane;
  }
  for (; i < n; ++i)
    if (z[i] == top) return i;
  return 0;  // every value is NaN
}

bool block_sum(const float* z, int32_t n, float* max_out, float* sum_out) {
  F32x16 best = broadcast(kMinusInfinity);
  I32x16 largest = magnitude(broadcast(0.0f));
  int32_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const F32x16 a = load(z + i);
    best = max(a, best);
    largest = max(magnitude(a), largest);
  }
  if (i < n) {
    const F32x16 a = load_first(z + i, n - i);
    best = max(keep_lanes(a, 0, n - i, best), best);
    largest = max(magnitude(a), largest);
  }
  const float top = hmax(best);
  F32x16 sum = broadcast(0.0f);
  for (i = 0; i + 16 <= n; i += 16) sum = sum + exp(load(z + i) - broadcast(top));
  if (i < n) {
    const F32x16 e = exp(load_first(z + i, n - i) - broadcast(top));
    sum = sum + keep_lanes(e, 0, n - i, broadcast(0.0f));
  }
  *max_out = top;
  *sum_out = hsum(sum);
  return hmax(largest) < kInfinityBits;
}

void exp_scaled(const float* z, int32_t n, float max, float scale, float* out) {
  for_lanes(n, [&](int32_t i, auto lanes) {
    const F32x16 x = (load_some(z + i, lanes) - broadcast(max)) * broadcast(scale);
    store_some(out + i, exp(x), lanes);
  });
}

int32_t between(const float* z, int32_t n, float low, float high, int32_t* out) {
  const F32x16 bottom = broadcast(low), top = broadcast(high);
  int32_t count = 0, i = 0;
  for (; i + 16 <= n; i += 16) {
    const F32x16 a = load(z + i);
    for (uint32_t lanes = lanes_less(a, top) & ~lanes_less(a, bottom); lanes != 0;
         lanes &= lanes - 1)
      out[count++] = i + __builtin_ctz(lanes);
  }
  for (; i < n; ++i)
    if (low <= z[i] && z[i] < high) out[count++] = i;
  return count;
}

}  // namespace
}  // namespace troupe::native
