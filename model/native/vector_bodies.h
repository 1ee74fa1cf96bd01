// The whole table of vector_kernels.h over the lanes of one f32x16_*.h, which must be included
// first. Everything has internal linkage: no code compiled for a better processor is ever shared.
#pragma once

#include "model/native/attention_bodies.h"
#include "model/native/kv_bodies.h"
#include "model/native/logit_bodies.h"
#include "model/native/row_bodies.h"
#include "model/native/vector_kernels.h"

namespace troupe::native {
namespace {

constexpr VectorKernels kBodies = {
    .rms_norm = rms_norm,
    .quantise = quantise,
    .keep_rest = keep_rest,
    .add = add,
    .add_rows = add_rows,
    .rotate = rotate,
    .silu_mul = silu_mul,
    .write_kv = write_kv,
    .attend = attend,
    .merge = merge,
    .finish = finish,
    .argmax = argmax,
    .block_sum = block_sum,
    .exp_scaled = exp_scaled,
    .between = between,
};

}  // namespace
}  // namespace troupe::native
