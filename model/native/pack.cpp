#include "model/native/pack.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "config/check.h"
#include "model/native/file_group.h"

namespace troupe::native {

namespace {

/// Where a row of a panel comes from; bytes null: zeros.
struct RowBytes {
  const std::byte* bytes = nullptr;
  ReadFileGroup read = nullptr;
  int32_t cols = 0;
};
using PanelRows = std::array<RowBytes, kPanelRows>;

PanelRows rows_of_panel(std::span<const PackSource> sources, std::span<const PackRow> rows,
                        int64_t panel) {
  PanelRows result;
  for (int r = 0; r < kPanelRows; ++r) {
    const auto index = static_cast<size_t>(panel * kPanelRows + r);
    if (index >= rows.size() || rows[index].source < 0) continue;
    const PackSource& source = sources[static_cast<size_t>(rows[index].source)];
    result[static_cast<size_t>(r)] = {source.bytes + source.row_bytes * rows[index].row,
                                      file_group_reader(source.dtype), source.cols};
  }
  return result;
}

template <class T>
void put(std::byte* column, int r, T value) {
  std::memcpy(column + sizeof(T) * static_cast<size_t>(r), &value, sizeof value);
}

void put_scale(ScaleType scales, std::byte* column, int r, uint32_t bits) {
  if (scales == ScaleType::f32)
    put(column, r, bits);
  else
    put(column, r, static_cast<uint16_t>(bits));
}

/// One row's part of a group of integer weights; `at` is the start of the group.
void put_group(const PackedMatrix& shape, const FileGroup& group, int r, std::byte* at) {
  const bool four_bits = shape.kind == PackKind::w4 || shape.kind == PackKind::w4m;
  const int lines = four_bits ? 4 : 8;
  for (int j = 0; j < lines; ++j)
    put(at + 64 * j, r,
        four_bits ? group.words[2 * j] | group.words[2 * j + 1] << 4 : group.words[j]);
  std::byte* column = at + 64 * lines;
  if (shape.kind == PackKind::q6) {
    put(column, r, group.sc0);
    put(column + kPanelRows, r, group.sc1);
    column += 2 * kPanelRows;
  }
  put_scale(shape.scales, column, r, group.d);
  const int column_bytes = shape.scales == ScaleType::f32 ? 64 : 32;
  if (has_min(shape.kind)) put_scale(shape.scales, column + column_bytes, r, group.m);
}

void pack_integer_panel(const PackedMatrix& shape, const PanelRows& rows, std::byte* at) {
  for (int32_t g = 0; g < shape.groups; ++g, at += group_bytes(shape.kind, shape.scales)) {
    for (int r = 0; r < kPanelRows; ++r) {
      const RowBytes& row = rows[static_cast<size_t>(r)];
      if (row.bytes != nullptr) put_group(shape, row.read(row.bytes, g), r, at);
    }
  }
}

template <class Number>
void pack_float_panel(const PanelRows& rows, std::byte* at) {
  for (int r = 0; r < kPanelRows; ++r) {
    const RowBytes& row = rows[static_cast<size_t>(r)];
    if (row.bytes == nullptr) continue;
    for (int32_t k = 0; k < row.cols; ++k) {
      Number number;
      std::memcpy(&number, row.bytes + sizeof(Number) * static_cast<size_t>(k), sizeof number);
      put(at + kPanelRows * sizeof(Number) * static_cast<size_t>(k), r, number);
    }
  }
}

template <class T>
T get(const unsigned char* column, int64_t i) {
  T value;
  std::memcpy(&value, column + static_cast<int64_t>(sizeof(T)) * i, sizeof value);
  return value;
}

float get_scale(ScaleType scales, const unsigned char* column, int r) {
  return scales == ScaleType::f32 ? get<float>(column, r) : f16_to_f32(get<uint16_t>(column, r));
}

/// q of packed_matrix.h: row r, input k of an integer group.
int weight_at(PackKind kind, const unsigned char* group, int r, int k) {
  if (kind == PackKind::w4 || kind == PackKind::w4m) {
    const int byte = group[64 * (k / 8) + 4 * r + k % 4];
    return k % 8 < 4 ? byte & 15 : byte >> 4;
  }
  return static_cast<int8_t>(group[64 * (k / 4) + 4 * r + k % 4]);
}

float integer_value(const PackedMatrix& matrix, const unsigned char* group, int r, int k) {
  const int q = weight_at(matrix.kind, group, r, k);
  if (matrix.kind == PackKind::q6) {
    const auto scale = get<int8_t>(group + 512 + kPanelRows * (k / 16), r);
    return get_scale(matrix.scales, group + 544, r) * static_cast<float>(scale) *
           static_cast<float>(q);
  }
  const bool four_bits = matrix.kind == PackKind::w4 || matrix.kind == PackKind::w4m;
  const unsigned char* column = group + (four_bits ? 256 : 512);
  const float d = get_scale(matrix.scales, column, r);
  if (!has_min(matrix.kind)) return static_cast<float>(matrix.kind == PackKind::w4 ? q - 8 : q) * d;
  const int column_bytes = matrix.scales == ScaleType::f32 ? 64 : 32;
  return static_cast<float>(q) * d + get_scale(matrix.scales, column + column_bytes, r);
}

float float_value(PackKind kind, const unsigned char* panel, int64_t index) {
  switch (kind) {
    case PackKind::f16:
      return f16_to_f32(get<uint16_t>(panel, index));
    case PackKind::bf16:
      return bf16_to_f32(get<uint16_t>(panel, index));
    default:
      return get<float>(panel, index);
  }
}

}  // namespace

PackFormat format_of(DType dtype) {
  switch (dtype) {
    case DType::q4_0:
      return {PackKind::w4, ScaleType::f16};
    case DType::q4_1:
      return {PackKind::w4m, ScaleType::f16};
    case DType::q5_0:
    case DType::q8_0:
      return {PackKind::w8, ScaleType::f16};
    case DType::q5_1:
      return {PackKind::w8m, ScaleType::f16};
    case DType::q4_k:
      return {PackKind::w4m, ScaleType::f32};
    case DType::q5_k:
      return {PackKind::w8m, ScaleType::f32};
    case DType::q6_k:
      return {PackKind::q6, ScaleType::f16};
    case DType::f16:
      return {PackKind::f16, ScaleType::f16};
    case DType::bf16:
      return {PackKind::bf16, ScaleType::f16};
    default:
      return {PackKind::f32, ScaleType::f16};
  }
}

PackedMatrix shape_of(PackFormat format, int64_t rows, int32_t cols) {
  return {.kind = format.kind,
          .scales = format.scales,
          .panels = static_cast<int32_t>((rows + kPanelRows - 1) / kPanelRows),
          .groups = (cols + kGroup - 1) / kGroup};
}

void pack_panels(const PackedMatrix& shape, std::span<const PackSource> sources,
                 std::span<const PackRow> rows, int32_t first, int32_t count, std::byte* into) {
  TROUPE_CHECK(first >= 0 && count >= 0 && first + count <= shape.panels, first, count,
               shape.panels);
  for (const PackSource& source : sources) {
    TROUPE_CHECK(format_of(source.dtype) == (PackFormat{shape.kind, shape.scales}),
                 traits_of(source.dtype).name);
    TROUPE_CHECK((source.cols + kGroup - 1) / kGroup == shape.groups, source.cols, shape.groups);
  }
  for (int32_t panel = first; panel < first + count; ++panel) {
    std::byte* at = into + shape.panel_bytes() * panel;
    std::memset(at, 0, static_cast<size_t>(shape.panel_bytes()));
    const PanelRows from = rows_of_panel(sources, rows, panel);
    if (!is_float(shape.kind))
      pack_integer_panel(shape, from, at);
    else if (shape.kind == PackKind::f32)
      pack_float_panel<uint32_t>(from, at);
    else
      pack_float_panel<uint16_t>(from, at);
  }
}

void unpack_row(const PackedMatrix& matrix, int64_t row, std::span<float> out) {
  TROUPE_CHECK(row >= 0 && row < int64_t{matrix.panels} * kPanelRows, row, matrix.panels);
  TROUPE_CHECK(out.size() <= static_cast<size_t>(matrix.groups) * kGroup, out.size(),
               matrix.groups);
  const unsigned char* panel = matrix.data + matrix.panel_bytes() * (row / kPanelRows);
  const int r = static_cast<int>(row % kPanelRows);
  for (int64_t k = 0; k < static_cast<int64_t>(out.size()); ++k) {
    const unsigned char* group = panel + (k / kGroup) * group_bytes(matrix.kind, matrix.scales);
    out[static_cast<size_t>(k)] =
        is_float(matrix.kind) ? float_value(matrix.kind, panel, k * kPanelRows + r)
                              : integer_value(matrix, group, r, static_cast<int>(k % kGroup));
  }
}

}  // namespace troupe::native
