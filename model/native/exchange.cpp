#include "model/native/exchange.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "config/check.h"

namespace troupe::native {

namespace {

/// Fewer rows than this are copied faster than threads are woken.
constexpr int32_t kRowsPerChunk = 16;

size_t float_bytes(int32_t rows, const RowRange& columns) {
  return static_cast<size_t>(rows) * static_cast<size_t>(columns.size()) * sizeof(float);
}

/// Groups that a range of columns covers; its begin is a whole group.
struct Groups {
  int32_t begin = 0, end = 0;
  explicit Groups(const RowRange& columns)
      : begin(static_cast<int32_t>(columns.begin / kGroup)),
        end(columns.size() == 0 ? begin
                                : static_cast<int32_t>((columns.end + kGroup - 1) / kGroup)) {}
  int64_t size() const { return end - begin; }
  /// q, then s.
  size_t bytes(int32_t rows) const {
    return static_cast<size_t>(size() * rows) * (kGroup + sizeof(float));
  }
};

/// The packed part of a tile: q of all its groups and rows, then s.
void pack_tile(const ActivationTile& tile, const Groups& groups, std::byte* to) {
  const int64_t cells = groups.size() * tile.rows, first = int64_t{groups.begin} * tile.rows;
  const auto q_bytes = static_cast<size_t>(cells * kGroup);
  std::memcpy(to, tile.q + first * kGroup, q_bytes);
  std::memcpy(to + q_bytes, tile.s + first, static_cast<size_t>(cells) * sizeof(float));
}

void unpack_tile(const std::byte* from, const Groups& groups, const ActivationTile& tile) {
  const int64_t cells = groups.size() * tile.rows, first = int64_t{groups.begin} * tile.rows;
  const auto q_bytes = static_cast<size_t>(cells * kGroup);
  std::memcpy(tile.q + first * kGroup, from, q_bytes);
  std::memcpy(tile.s + first, from + q_bytes, static_cast<size_t>(cells) * sizeof(float));
  for (int64_t cell = first; cell < first + cells; ++cell) {
    const int8_t* q = tile.q + cell * kGroup;
    int32_t sums[2] = {0, 0};
    for (int k = 0; k < kGroup; ++k) sums[k / (kGroup / 2)] += q[k];
    const int32_t sum = sums[0] + sums[1];
    if (tile.minus8 != nullptr) tile.minus8[cell] = -8 * sum;
    if (tile.minus128 != nullptr) tile.minus128[cell] = -128 * sum;
    if (tile.minus128_of[0] != nullptr)
      for (int half = 0; half < 2; ++half) tile.minus128_of[half][cell] = -128 * sums[half];
    tile.p[cell] = tile.s[cell] * static_cast<float>(sum);  // N6
  }
}

}  // namespace

Result<Exchange> Exchange::make(RankGroup& group, ThreadPool& pool, int32_t max_rows,
                                int32_t width_max) {
  Exchange e;
  e.group_ = &group;
  e.pool_ = &pool;
  // Floats are the largest form; a group that is not full is sent whole.
  const int64_t width = (int64_t{width_max} + kGroup - 1) / kGroup * kGroup;
  const auto bytes = static_cast<size_t>(max_rows * width) * sizeof(float);
  auto made = HugeBuffer::make(bytes);
  if (!made) return std::unexpected(made.error());
  e.buffer_ = std::move(*made);
  e.counts_.resize(static_cast<size_t>(group.tensor_parallel()));
  return e;
}

template <class BytesOf>
std::byte* Exchange::lay_out(const ColumnSplit& split, BytesOf bytes_of) {
  TROUPE_CHECK(split.size() == counts_.size(), split.size(), counts_.size());
  total_ = 0;
  for (size_t r = 0; r < split.size(); ++r) {
    if (r == own()) own_begin_ = total_;
    total_ += counts_[r] = bytes_of(split[r]);
  }
  TROUPE_CHECK(total_ <= buffer_.size(), total_, buffer_.size());
  return buffer_.data() + own_begin_;
}

Result<void> Exchange::exchange() {
  const auto all = buffer_.bytes().first(total_);
  return group_->gather(all.subspan(own_begin_, counts_[own()]), all, counts_);
}

void Exchange::pack_floats(const float* x, int64_t stride, int32_t rows, const RowRange& columns,
                           std::byte* to) {
  const size_t row_bytes = float_bytes(1, columns);
  if (row_bytes == 0) return;
  pool_->run((rows + kRowsPerChunk - 1) / kRowsPerChunk, [&](int chunk, int) {
    for (int32_t r = chunk * kRowsPerChunk; r < std::min(rows, (chunk + 1) * kRowsPerChunk); ++r)
      std::memcpy(to + static_cast<size_t>(r) * row_bytes, x + r * stride + columns.begin,
                  row_bytes);
  });
}

void Exchange::unpack_floats(const std::byte* from, float* x, int64_t stride, int32_t rows,
                             const RowRange& columns) {
  const size_t row_bytes = float_bytes(1, columns);
  if (row_bytes == 0) return;
  pool_->run((rows + kRowsPerChunk - 1) / kRowsPerChunk, [&](int chunk, int) {
    for (int32_t r = chunk * kRowsPerChunk; r < std::min(rows, (chunk + 1) * kRowsPerChunk); ++r)
      std::memcpy(x + r * stride + columns.begin, from + static_cast<size_t>(r) * row_bytes,
                  row_bytes);
  });
}

Result<void> Exchange::gather_floats(float* x, int64_t stride, int32_t rows,
                                     const ColumnSplit& split) {
  std::byte* to = lay_out(split, [&](const RowRange& c) { return float_bytes(rows, c); });
  if (rows == 1) {
    // The parts of one row lie where they belong.
    const auto row = std::as_writable_bytes(std::span(x, total_ / sizeof(float)));
    return group_->gather(row.subspan(own_begin_, counts_[own()]), row, counts_);
  }
  pack_floats(x, stride, rows, split[own()], to);
  if (auto ok = exchange(); !ok) return ok;
  const std::byte* from = buffer_.data();
  for (size_t r = 0; r < split.size(); from += counts_[r], ++r)
    if (r != own()) unpack_floats(from, x, stride, rows, split[r]);
  return {};
}

Result<void> Exchange::gather(const Activations& a, PackKind reader, const ColumnSplit& split,
                              bool finite) {
  if (!is_float(reader)) return gather_groups(a, split, finite);
  const ActivationTile first = a.tile(0);
  return gather_floats(first.x, first.x_stride, a.tiling().rows, split);
}

Result<void> Exchange::gather_groups(const Activations& a, const ColumnSplit& split, bool finite) {
  const Tiling& tiling = a.tiling();
  const Groups mine(split[own()]);
  std::byte* to = lay_out(split, [&](const RowRange& c) { return Groups(c).bytes(tiling.rows); });
  pool_->run(tiling.count, [&](int tile, int) {
    pack_tile(a.tile(tile), mine, to + mine.bytes(tiling.first(tile)));
  });
  if (!finite && mine.size() > 0) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(to + mine.size() * tiling.size(0) * kGroup, &nan, sizeof nan);
  }
  if (auto ok = exchange(); !ok) return ok;
  const std::byte* from = buffer_.data();
  for (size_t r = 0; r < split.size(); from += counts_[r], ++r) {
    const Groups groups(split[r]);
    if (r == own() || groups.size() == 0) continue;
    pool_->run(tiling.count, [&](int tile, int) {
      unpack_tile(from + groups.bytes(tiling.first(tile)), groups, a.tile(tile));
    });
  }
  return {};
}

Result<void> Exchange::send_on(const float* x, int64_t stride, int32_t rows,
                               const ColumnSplit& split) {
  const size_t bytes = float_bytes(rows, split[own()]);
  if (bytes == 0) return {};
  pack_floats(x, stride, rows, split[own()], buffer_.data());
  return group_->send_on(buffer_.bytes().first(bytes));
}

Result<void> Exchange::receive_on(float* x, int64_t stride, int32_t rows,
                                  const ColumnSplit& split) {
  const size_t bytes = float_bytes(rows, split[own()]);
  if (bytes > 0) {
    if (auto ok = group_->receive_on(buffer_.bytes().first(bytes)); !ok) return ok;
    unpack_floats(buffer_.data(), x, stride, rows, split[own()]);
  }
  return split.size() > 1 ? gather_floats(x, stride, rows, split) : Result<void>{};
}

}  // namespace troupe::native
