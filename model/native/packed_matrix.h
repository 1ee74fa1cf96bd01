// The one layout of weights in memory, for all instruction sets: panels of 16 output rows, each a
// run of groups of 32 inputs, read front to back. Plain data: per-ISA files include this header;
// inline functions here are always inlined, so that no copy compiled for a better processor is
// shared.
//
//   panel p = rows 16p .. 16p+15                       group g = inputs 32g .. 32g+31
//   data + p * panel_bytes + g * group_bytes:
//     w4, w4m   256 B nibbles: 4 lines of 64 B; byte r*4+b of line j holds row r:
//               low nibble k = 8j+b, high nibble k = 8j+4+b;       16 d;   w4m: 16 m
//     w8, w8m   512 B int8: 8 lines of 64 B; byte r*4+b of line j: row r, k = 4j+b;
//                                                                  16 d;   w8m: 16 m
//     q6        512 B as w8 (values -32..31), then int8 sc0 of 16 rows (k 0..15), sc1 of 16 rows
//               (k 16..31); 16 d (f16)
//     f32, f16, bf16: 32 x 16 numbers: number k*16+r is row r, input k
//   d and m are f16, or f32 where the format's own scale is a product (Q4_K, Q5_K).
//
// Value of a weight (N7 of docs/performance.md): w4: (q-8)*d | w4m: q*d+m | w8: q*d | w8m: q*d+m (q
// as uint8 0..31, and so never negative as int8) | q6: q*(sc*d). Rows and inputs beyond the matrix
// are zeros (d = m = 0): they add exactly nothing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace troupe::native {

inline constexpr int kPanelRows = 16;
inline constexpr int kGroup = 32;

enum class PackKind : uint8_t { w4, w4m, w8, w8m, q6, f32, f16, bf16 };
enum class ScaleType : uint8_t { f16, f32 };

[[gnu::always_inline]] constexpr bool is_float(PackKind kind) { return kind >= PackKind::f32; }
[[gnu::always_inline]] constexpr bool has_min(PackKind kind) {
  return kind == PackKind::w4m || kind == PackKind::w8m;
}

[[gnu::always_inline]] constexpr int32_t group_bytes(PackKind kind, ScaleType scales) {
  const int32_t column = scales == ScaleType::f16 ? 32 : 64;  // 16 scales
  switch (kind) {
    case PackKind::w4:
      return 256 + column;
    case PackKind::w4m:
      return 256 + 2 * column;
    case PackKind::w8:
      return 512 + column;
    case PackKind::w8m:
      return 512 + 2 * column;
    case PackKind::q6:
      return 512 + 32 + 32;
    case PackKind::f32:
      return 2048;
    default:
      return 1024;
  }
}

/// A view; the bytes belong to a HugeBuffer. `data` is 64-byte aligned.
struct PackedMatrix {
  PackKind kind = PackKind::f32;
  ScaleType scales = ScaleType::f16;
  int32_t panels = 0;
  int32_t groups = 0;
  const unsigned char* data = nullptr;

  [[gnu::always_inline]] int64_t panel_bytes() const {
    return int64_t{groups} * group_bytes(kind, scales);
  }
  [[gnu::always_inline]] int64_t bytes() const { return panels * panel_bytes(); }
};

}  // namespace troupe::native
