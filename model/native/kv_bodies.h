// Reading and writing one unit of KV (kv_layout.h, N11 of docs/performance.md), written once over
// 16 lanes. Include one f32x16_*.h first.
#pragma once

#include <cstdint>

#include "model/native/kv_layout.h"
#include "model/native/lane_math.h"

namespace troupe::native {
namespace {

/// A unit of 16 positions as float lanes. key(d): dimension d of the 16 positions.
/// value(pos, d): dimensions d .. d+15 of a position; value_first: only n of them.
struct F16Unit {
  const uint16_t* keys = nullptr;
  const uint16_t* values = nullptr;
  int32_t head_dim = 0;

  [[gnu::always_inline]] void open(const unsigned char* unit, int32_t dims) {
    keys = reinterpret_cast<const uint16_t*>(unit);
    values = keys + kKvBlock * dims;
    head_dim = dims;
  }
  /// Values are found fast enough: asking ahead cost 30 % where it was tried (Zen 4).
  [[gnu::always_inline]] void ask_for_values(int32_t) const {}
  [[gnu::always_inline]] F32x16 key(int32_t d) const { return load_f16(keys + kKvBlock * d); }
  [[gnu::always_inline]] F32x16 value(int32_t pos, int32_t d) const {
    return load_f16(values + pos * head_dim + d);
  }
  [[gnu::always_inline]] F32x16 value_first(int32_t pos, int32_t d, int n) const {
    return load_f16_first(values + pos * head_dim + d, n);
  }
};

struct Int8Unit {
  const int8_t* keys = nullptr;
  const int8_t* values = nullptr;
  const float* value_scales = nullptr;
  F32x16 key_scales = broadcast(0.0f);
  int32_t head_dim = 0;

  [[gnu::always_inline]] void open(const unsigned char* unit, int32_t dims) {
    keys = reinterpret_cast<const int8_t*>(unit);
    values = keys + kKvBlock * dims;
    const auto* scales = reinterpret_cast<const float*>(unit + 2 * kKvBlock * dims);
    key_scales = load(scales);
    value_scales = scales + kKvBlock;
    head_dim = dims;
  }
  /// Fetches the line of values as far in as dimension d is in the keys: 20 % faster from memory.
  [[gnu::always_inline]] void ask_for_values(int32_t d) const {
    if (d % 4 == 0) __builtin_prefetch(values + kKvBlock * d);
  }
  [[gnu::always_inline]] F32x16 key(int32_t d) const {
    return load_i8(keys + kKvBlock * d) * key_scales;
  }
  [[gnu::always_inline]] F32x16 value(int32_t pos, int32_t d) const {
    return load_i8(values + pos * head_dim + d) * broadcast(value_scales[pos]);
  }
  [[gnu::always_inline]] F32x16 value_first(int32_t pos, int32_t d, int n) const {
    return load_i8_first(values + pos * head_dim + d, n) * broadcast(value_scales[pos]);
  }
};

/// One vector of a head as halves at to[0], to[step], to[2 * step] ...
[[gnu::always_inline]] inline void write_f16(const float* from, int32_t n, uint16_t* to,
                                             int32_t step) {
  uint16_t halves[16];
  const F32x16 top = broadcast(65504.0f);
  for (int32_t d = 0; d < n; d += 16) {
    const int count = n - d < 16 ? n - d : 16;
    const F32x16 x = count == 16 ? load(from + d) : load_first(from + d, count);
    store_f16(halves, max(-top, min(top, x)));
    for (int i = 0; i < count; ++i) to[(d + i) * step] = halves[i];
  }
}

/// 2^-24 as bits, the smallest number of float16: a smaller vector is written as zeros, so that no
/// product of a value and a softmax weight underflows (attention_bodies.h says why that matters).
constexpr int32_t kSmallestInt8Bits = (127 - 24) << 23;

/// One vector of a head as int8 with a scale of its own; one that isn't finite gets a NaN as its
/// scale, so that it shows in every sum that reads it.
[[gnu::always_inline]] inline void write_int8(const float* from, int32_t n, int8_t* to,
                                              int32_t step, float* scale) {
  I32x16 largest = magnitude(broadcast(0.0f));
  for (int32_t d = 0; d < n; d += 16)
    largest = max(largest, magnitude(n - d < 16 ? load_first(from + d, n - d) : load(from + d)));
  const int32_t amax_bits = hmax(largest);
  const bool zeros = amax_bits < kSmallestInt8Bits || amax_bits >= kInfinityBits;
  const float amax = __builtin_bit_cast(float, amax_bits);
  *scale = amax_bits >= kInfinityBits ? __builtin_nanf("") : zeros ? 0.0f : amax / 127.0f;
  const F32x16 id = broadcast(zeros ? 0.0f : 127.0f / amax);
  int8_t q[16];
  for (int32_t d = 0; d < n; d += 16) {
    const int count = n - d < 16 ? n - d : 16;
    const F32x16 x = count == 16 ? load(from + d) : load_first(from + d, count);
    store_i8(q, round_to_int(zeros ? id : x * id));
    for (int i = 0; i < count; ++i) to[(d + i) * step] = q[i];
  }
}

void write_kv(const KvLayout& layout, unsigned char* unit, int32_t offset, const float* k,
              const float* v) {
  const int32_t dims = layout.head_dim;
  if (layout.format == KvFormat::f16) {
    auto* halves = reinterpret_cast<uint16_t*>(unit);
    write_f16(k, dims, halves + offset, kKvBlock);
    write_f16(v, dims, halves + (kKvBlock + offset) * dims, 1);
  } else {
    auto* bytes = reinterpret_cast<int8_t*>(unit);
    auto* scales = reinterpret_cast<float*>(unit + 2 * kKvBlock * dims);
    write_int8(k, dims, bytes + offset, kKvBlock, scales + offset);
    write_int8(v, dims, bytes + (kKvBlock + offset) * dims, 1, scales + kKvBlock + offset);
  }
}

}  // namespace
}  // namespace troupe::native
