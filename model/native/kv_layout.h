// Where keys and values of a position lie. Private to this backend. Plain data: per-ISA files
// include this header.
//
// One unit per (block, layer, kv head), in this order in memory: what is never used of a large KV
// memory then takes no pages, not even the rest of a huge one in each layer. In a unit (16
// positions, head_dim = d):
//   f16   K: d x 16 halves, [dim][position]; V: 16 x d halves, [position][dim]
//   int8  K: d x 16 int8,   [dim][position]; V: 16 x d int8;  then 16 float K scales and 16 float V
//         scales, one a position. A number is (float)q * scale, rounded to float32.
//         q = rne(x * (127 / amax)), scale = amax / 127; amax < 2^-24: q and scale are 0.
// A unit's size is rounded up to 64 bytes.
#pragma once

#include <cstdint>

namespace troupe::native {

inline constexpr int kKvBlock = 16;   ///< positions; equals kBlockPositions of model/step.h
inline constexpr int kSegment = 256;  ///< absolute positions of one attention segment (N12)

enum class KvFormat : uint8_t { f16, int8 };

struct KvLayout {
  KvFormat format = KvFormat::f16;
  int32_t head_dim = 0;
  int32_t kv_heads = 0;
  int32_t blocks = 0;
  int32_t layers = 1;

  [[gnu::always_inline]] int64_t unit_bytes() const {
    const int64_t numbers = int64_t{2} * kKvBlock * head_dim;
    const int64_t bytes =
        format == KvFormat::f16 ? 2 * numbers : numbers + 2 * kKvBlock * int64_t{4};
    return (bytes + 63) / 64 * 64;
  }
  /// Of a block: all its layers and heads, side by side.
  [[gnu::always_inline]] int64_t block_bytes() const { return layer(layers); }
  [[gnu::always_inline]] int64_t bytes() const { return block_bytes() * blocks; }
  /// Offset of the first unit of a layer.
  [[gnu::always_inline]] int64_t layer(int32_t index) const {
    return unit_bytes() * kv_heads * index;
  }
  /// Offset of a unit from the first unit of its layer.
  [[gnu::always_inline]] int64_t unit(int32_t block, int32_t kv_head) const {
    return (int64_t{block} * layers * kv_heads + kv_head) * unit_bytes();
  }
};

}  // namespace troupe::native
