// The kernels matmul_for() chooses from, one a file and instruction set. Each serves every kind.
// Plain data: per-ISA files include this header.
#pragma once

#include <cstdint>

#include "model/native/activation_tile.h"
#include "model/native/packed_matrix.h"

namespace troupe::native {

void matmul_scalar(const PackedMatrix& w, int32_t first, int32_t count, const ActivationTile& x,
                   float* out, int64_t out_stride);
void matmul_avx2(const PackedMatrix& w, int32_t first, int32_t count, const ActivationTile& x,
                 float* out, int64_t out_stride);
void matmul_avx512(const PackedMatrix& w, int32_t first, int32_t count, const ActivationTile& x,
                   float* out, int64_t out_stride);
/// The float kinds alone.
void matmul_floats_avx2(const PackedMatrix& w, int32_t first, int32_t count,
                        const ActivationTile& x, float* out, int64_t out_stride);
void matmul_floats_avx512(const PackedMatrix& w, int32_t first, int32_t count,
                          const ActivationTile& x, float* out, int64_t out_stride);
void matmul_amx(const PackedMatrix& w, int32_t first, int32_t count, const ActivationTile& x,
                float* out, int64_t out_stride);

}  // namespace troupe::native
