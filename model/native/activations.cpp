#include "model/native/activations.h"

#include <cstring>

#include "config/check.h"
#include "model/native/packed_matrix.h"

namespace troupe::native {

namespace {
constexpr int64_t kAlign = 64;
int64_t aligned(int64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }
}  // namespace

Result<Activations> Activations::make(int32_t max_rows, int32_t width, Keeps keeps) {
  Activations a;
  a.width_ = width;
  a.groups_ = (width + kGroup - 1) / kGroup;
  a.max_rows_ = max_rows;
  const int64_t cells = int64_t{max_rows} * a.groups_;
  const int64_t column = aligned(cells * 4);
  const int64_t floats = keeps == Keeps::floats_too ? aligned(cells * kGroup * 4) : 0;
  auto memory =
      HugeBuffer::make(static_cast<size_t>(aligned(cells * kGroup) + 6 * column + floats));
  if (!memory) return std::unexpected(memory.error());
  a.memory_ = std::move(*memory);
  std::byte* at = a.memory_.data();
  a.q_ = reinterpret_cast<int8_t*>(at);
  at += aligned(cells * kGroup);
  a.s_ = reinterpret_cast<float*>(at);
  a.p_ = reinterpret_cast<float*>(at + column);
  a.minus8_ = reinterpret_cast<int32_t*>(at + 2 * column);
  a.minus128_ = reinterpret_cast<int32_t*>(at + 3 * column);
  for (int half = 0; half < 2; ++half)
    a.minus128_of_[half] = reinterpret_cast<int32_t*>(at + (4 + half) * column);
  if (floats > 0) a.x_ = reinterpret_cast<float*>(at + 6 * column);
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
  t.minus8 = minus8_ + first * groups_;
  t.minus128 = minus128_ + first * groups_;
  for (int half = 0; half < 2; ++half) t.minus128_of[half] = minus128_of_[half] + first * groups_;
  if (x_ != nullptr) {
    t.x_stride = int64_t{groups_} * kGroup;
    t.x = x_ + first * t.x_stride;
  }
  return t;
}

QuantisedRow Activations::quantised(const ActivationTile& t, int32_t row, int32_t first) const {
  const int64_t rows = t.rows, cell = first / kGroup * rows + row % tiling_.height;
  return {.q = t.q + cell * kGroup,
          .s = t.s + cell,
          .p = t.p + cell,
          .minus8 = t.minus8 + cell,
          .minus128 = t.minus128 + cell,
          .minus128_of = {t.minus128_of[0] + cell, t.minus128_of[1] + cell},
          .q_stride = rows * kGroup,
          .stride = rows};
}

bool Activations::put(const VectorKernels& kernels, int32_t row, int32_t first, const float* x,
                      int32_t n) const {
  TROUPE_CHECK(row < tiling_.rows && first % kGroup == 0 && first + n <= width_, row, first, n);
  const ActivationTile t = tile(row / tiling_.height);
  if (t.x != nullptr)
    std::memcpy(t.x + row % tiling_.height * t.x_stride + first, x, static_cast<size_t>(n) * 4);
  return kernels.quantise(x, n, quantised(t, row, first));
}

void Activations::put_rest(const VectorKernels& kernels, int32_t row, float* x,
                           const Activations& rest) const {
  kernels.keep_rest(x, width_, quantised(tile(row / tiling_.height), row, 0));
  rest.put(kernels, row, 0, x, width_);
}

}  // namespace troupe::native
