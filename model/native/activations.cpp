#include "model/native/activations.h"

#include <cstring>
#include <utility>

#include "config/check.h"
#include "model/native/packed_matrix.h"

namespace troupe::native {

namespace {
constexpr int64_t kAlign = 64;
int64_t aligned(int64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }
/// A place in a column that may not be kept.
int32_t* beyond(int32_t* column, int64_t cells) {
  return column == nullptr ? nullptr : column + cells;
}
}  // namespace

void TileReaders::add(PackKind kind) {
  floats |= is_float(kind);
  minus8 |= kind == PackKind::w4;
  minus128 |= kind == PackKind::w8;
  halves |= kind == PackKind::q6;
}

Result<Activations> Activations::make(int32_t max_rows, int32_t width, const TileReaders& readers) {
  Activations a;
  a.width_ = width;
  a.groups_ = (width + kGroup - 1) / kGroup;
  a.max_rows_ = max_rows;
  const int64_t cells = int64_t{max_rows} * a.groups_;
  const int64_t column = aligned(cells * 4);
  const int64_t columns = 2 + int64_t{readers.minus8} + readers.minus128 + 2 * readers.halves;
  const int64_t floats = readers.floats ? aligned(cells * kGroup * 4) : 0;
  auto memory =
      HugeBuffer::make(static_cast<size_t>(aligned(cells * kGroup) + columns * column + floats));
  if (!memory) return std::unexpected(memory.error());
  a.memory_ = std::move(*memory);
  std::byte* at = a.memory_.data();
  const auto take = [&at](int64_t bytes) { return std::exchange(at, at + bytes); };
  a.q_ = reinterpret_cast<int8_t*>(take(aligned(cells * kGroup)));
  a.s_ = reinterpret_cast<float*>(take(column));
  a.p_ = reinterpret_cast<float*>(take(column));
  if (readers.minus8) a.minus8_ = reinterpret_cast<int32_t*>(take(column));
  if (readers.minus128) a.minus128_ = reinterpret_cast<int32_t*>(take(column));
  if (readers.halves)
    for (int32_t*& half : a.minus128_of_) half = reinterpret_cast<int32_t*>(take(column));
  if (readers.floats) a.x_ = reinterpret_cast<float*>(take(floats));
  return a;
}

ActivationTile Activations::tile(int32_t index) const {
  const int64_t first = tiling_.first(index);
  ActivationTile t;
  t.rows = tiling_.size(index);
  t.groups = groups_;
  t.q = q_ + first * groups_ * kGroup;
  t.s = s_ + first * groups_;
  t.p = p_ + first * groups_;
  t.minus8 = beyond(minus8_, first * groups_);
  t.minus128 = beyond(minus128_, first * groups_);
  for (int half = 0; half < 2; ++half)
    t.minus128_of[half] = beyond(minus128_of_[half], first * groups_);
  if (x_ != nullptr) {
    t.x_stride = int64_t{groups_} * kGroup;
    t.x = x_ + first * t.x_stride;
  }
  return t;
}

QuantisedRow Activations::quantised(const ActivationTile& t, int32_t row, int32_t first) const {
  const int64_t rows = t.rows, cell = first / kGroup * rows + row;
  return {.q = t.q + cell * kGroup,
          .s = t.s + cell,
          .p = t.p + cell,
          .minus8 = beyond(t.minus8, cell),
          .minus128 = beyond(t.minus128, cell),
          .minus128_of = {beyond(t.minus128_of[0], cell), beyond(t.minus128_of[1], cell)},
          .q_stride = rows * kGroup,
          .stride = rows};
}

bool Activations::put(const VectorKernels& kernels, int32_t row, int32_t first, const float* x,
                      int32_t n) const {
  TROUPE_CHECK(row < tiling_.rows && first % kGroup == 0 && first + n <= width_, row, first, n);
  const ActivationTile t = tile(row / tiling_.height);
  return put_row(kernels, t, row % tiling_.height, first, x, n);
}

bool Activations::put_tile(const VectorKernels& kernels, int32_t tile_index, int32_t first,
                           const float* x, int64_t stride, int32_t n) const {
  TROUPE_CHECK(tile_index < tiling_.count && first % kGroup == 0 && first + n <= width_, tile_index,
               first, n);
  const ActivationTile t = tile(tile_index);
  bool finite = true;
  for (int32_t row = 0; row < t.rows; ++row, x += stride)
    finite &= put_row(kernels, t, row, first, x, n);
  return finite;
}

bool Activations::put_row(const VectorKernels& kernels, const ActivationTile& t, int32_t row,
                          int32_t first, const float* x, int32_t n) const {
  if (t.x != nullptr) std::memcpy(t.x + row * t.x_stride + first, x, static_cast<size_t>(n) * 4);
  return kernels.quantise(x, n, quantised(t, row, first));
}

void Activations::put_rest(const VectorKernels& kernels, int32_t row, float* x,
                           const Activations& rest) const {
  kernels.keep_rest(x, width_, quantised(tile(row / tiling_.height), row % tiling_.height, 0));
  rest.put(kernels, row, 0, x, width_);
}

}  // namespace troupe::native
