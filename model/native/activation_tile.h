// Up to 16 rows of activations, as a matrix multiplication reads them. Plain data: per-ISA files
// include this header.
#pragma once

#include <cstdint>

namespace troupe::native {

inline constexpr int kTileRows = 16;

/// Quantised by N6 of docs/performance.md, in groups of 32 inputs: q = rne(x * 127 / amax),
/// s = amax / 127, p = s * (float)(sum of q). Views; 64-byte aligned starts.
struct ActivationTile {
  int32_t rows = 0;  ///< 1..16
  int32_t groups = 0;
  int8_t* q = nullptr;  ///< [group][rows][32]
  float* s = nullptr;   ///< [group][rows]
  float* p = nullptr;   ///< [group][rows]
  /// What kernels that make weights unsigned by adding 8 or 128 start a sum with; each null when no
  /// matrix that needs it reads the tile (TileReaders).
  int32_t* minus8 = nullptr;    ///< [group][rows]: -8 x sum of q
  int32_t* minus128 = nullptr;  ///< [group][rows]: -128 x sum of q
  /// [group][rows] each: -128 x sum of the first 16 of q, and of the last 16.
  int32_t* minus128_of[2] = {nullptr, nullptr};
  /// The same rows in float32, [rows][x_stride], zero beyond the matrix's inputs up to 32 * groups;
  /// null when no float matrix reads them.
  float* x = nullptr;
  int64_t x_stride = 0;
};

}  // namespace troupe::native
