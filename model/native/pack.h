// Repacks rows of a model file's tensors into the layout of packed_matrix.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "model/dtype.h"
#include "model/native/packed_matrix.h"

namespace troupe::native {

/// Rows of one tensor as they stand in the file.
struct PackSource {
  DType dtype = DType::f32;
  const std::byte* bytes = nullptr;
  int64_t row_bytes = 0;
  int32_t cols = 0;
};

/// Which row of which source stands at a row of the packed matrix; `source` -1: a row of zeros.
struct PackRow {
  int32_t source = -1;
  int32_t row = 0;
};

/// How a dtype is kept in memory. Lossless: Q4_0 w4 | Q4_1 w4m | Q8_0, Q5_0 w8 | Q5_1 w8m | Q4_K
/// w4m/f32 | Q5_K w8m/f32 | Q6_K q6 | floats as they are.
struct PackFormat {
  PackKind kind = PackKind::f32;
  ScaleType scales = ScaleType::f16;
  bool operator==(const PackFormat&) const = default;
};
PackFormat format_of(DType dtype);

/// An empty matrix (no bytes yet) for `rows` packed rows of `cols` inputs.
PackedMatrix shape_of(PackFormat format, int64_t rows, int32_t cols);

/// Fills panels [first, first + count) of `shape` at `into` (the start of the matrix's bytes,
/// shape.bytes() long). `rows`: one entry per packed row of the whole matrix; may end before the
/// last panel does (zeros). All sources have shape's format and cols. Threads may fill different
/// panels at once.
void pack_panels(const PackedMatrix& shape, std::span<const PackSource> sources,
                 std::span<const PackRow> rows, int32_t first, int32_t count, std::byte* into);

/// Packed row `row` back as float32: bit-equal to dequantise() of the file's row. out: at most
/// 32 * groups values.
void unpack_row(const PackedMatrix& matrix, int64_t row, std::span<float> out);

}  // namespace troupe::native
