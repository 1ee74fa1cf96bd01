// y = W x for one tile of activations and a run of panels: the hot loop of the backend.
#pragma once

#include <cstdint>

#include "model/native/activation_tile.h"
#include "model/native/isa.h"
#include "model/native/packed_matrix.h"

namespace troupe::native {

/// out[r * out_stride + 16 * i + lane] = sum of N7 (integer kinds) or N8 (float kinds) of
/// docs/performance.md for row r of the tile and row `lane` of panel `first + i`, i in [0, count).
/// No bias, no residual. Padding lanes give +0. `out` is 64-byte aligned and out_stride a multiple
/// of 16. Never allocates; any thread; bits do not depend on the instruction set, on `rows` or on
/// `count`.
using MatmulFn = void (*)(const PackedMatrix& w, int32_t first, int32_t count,
                          const ActivationTile& x, float* out, int64_t out_stride);

MatmulFn matmul_for(Isa isa);

}  // namespace troupe::native
