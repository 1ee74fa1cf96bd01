// Storage for the activations of one step: rows of one width, cut into tiles of at most 16 rows as
// evenly as possible. Owned by one NativePartition; rows may be filled by several threads at once
// (different rows), tiles read by all.
#pragma once

#include <cstdint>

#include "config/result.h"
#include "model/native/activation_tile.h"
#include "model/native/arena.h"
#include "model/native/packed_matrix.h"
#include "model/native/vector_kernels.h"

namespace troupe::native {

/// How `rows` are cut: all tiles have `height` rows but the last, which may have fewer.
struct Tiling {
  int32_t rows = 0, height = 0, count = 0;
  static Tiling of(int32_t rows) {
    if (rows <= 0) return {};
    const int32_t count = (rows + kTileRows - 1) / kTileRows;
    const int32_t height = (rows + count - 1) / count;
    return {rows, height, (rows + height - 1) / height};
  }
  int32_t first(int32_t tile) const { return tile * height; }
  int32_t size(int32_t tile) const { return tile + 1 < count ? height : rows - first(tile); }
};

/// What the matrices that read a tile need of it beside q, s and p. A column that nobody reads is
/// not kept: each costs a cache line a group and row to write.
struct TileReaders {
  bool floats = false, minus8 = false, minus128 = false, halves = false;
  void add(PackKind kind);
};

class Activations {
 public:
  Activations() = default;
  /// Room for `max_rows` rows of `width` numbers.
  static Result<Activations> make(int32_t max_rows, int32_t width, const TileReaders& readers);

  /// Cuts anew; the contents become undefined.
  void set_rows(int32_t rows) { tiling_ = Tiling::of(rows); }
  /// The same with a tile for each row.
  void set_single_rows(int32_t rows) { tiling_ = {rows, 1, rows}; }
  const Tiling& tiling() const { return tiling_; }
  int32_t width() const { return width_; }

  ActivationTile tile(int32_t index) const;
  /// Fills inputs [first, first + n) of a row (first a multiple of 32) from `x`: quantised, and as
  /// floats if kept. False when a value is not finite.
  bool put(const VectorKernels& kernels, int32_t row, int32_t first, const float* x,
           int32_t n) const;
  /// The same for all rows of a tile, row r of it from x + r * stride.
  bool put_tile(const VectorKernels& kernels, int32_t tile, int32_t first, const float* x,
                int64_t stride, int32_t n) const;
  /// Fills that row of `rest` with what put() of the whole row `x` left (N6), to which it sets `x`.
  void put_rest(const VectorKernels& kernels, int32_t row, float* x, const Activations& rest) const;

 private:
  /// `row` counts within the tile.
  QuantisedRow quantised(const ActivationTile& t, int32_t row, int32_t first) const;
  bool put_row(const VectorKernels& kernels, const ActivationTile& t, int32_t row, int32_t first,
               const float* x, int32_t n) const;

  int32_t width_ = 0, groups_ = 0, max_rows_ = 0;
  Tiling tiling_;
  HugeBuffer memory_;
  int8_t* q_ = nullptr;
  float* s_ = nullptr;
  float* p_ = nullptr;
  int32_t* minus8_ = nullptr;
  int32_t* minus128_ = nullptr;
  int32_t* minus128_of_[2] = {nullptr, nullptr};
  float* x_ = nullptr;
};

}  // namespace troupe::native
