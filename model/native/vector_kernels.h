// The float parts of a step: norms, quantisation, rotation, SwiGLU, attention. Written once over 16
// lanes (N2 of docs/performance.md) and compiled for each instruction set; all of them give the
// same bits. None allocates; any thread; MXCSR must be 0x1F80. Lengths need not be multiples of 16
// unless said.
#pragma once

#include <cstdint>

#include "model/native/isa.h"
#include "model/native/kv_layout.h"

namespace troupe::native {

/// Where quantise() puts one row of an ActivationTile: group g's 32 numbers at q + g * q_stride,
/// its scale at s[g * stride], and so on; columns that are null are left out.
struct QuantisedRow {
  int8_t* q = nullptr;
  float* s = nullptr;
  float* p = nullptr;
  int32_t* minus8 = nullptr;
  int32_t* minus128 = nullptr;
  int32_t* minus128_of[2] = {nullptr, nullptr};
  int64_t q_stride = 0;  ///< 32 * rows of the tile
  int64_t stride = 0;    ///< rows of the tile
};

/// Queries of one sequence that share a kv head, over one segment of 256 absolute positions.
struct AttentionTask {
  KvLayout layout;
  const unsigned char* layer = nullptr;  ///< first unit of the layer
  const int32_t* table = nullptr;        ///< block ids of the sequence, from position 0
  int32_t kv_head = 0;
  int32_t segment = 0;  ///< positions [256 * segment, 256 * segment + 256)
  int32_t window = 0;   ///< sliding window: a query at p sees positions > p - window; 0: all
  int32_t queries = 0;
  /// Query i: head_dim floats at q + q_offset[i], rotated and multiplied by 1/sqrt(head_dim), at
  /// absolute position `position[i]`, which lies at or beyond the segment's start. Ascending.
  const float* q = nullptr;
  const int32_t* q_offset = nullptr;
  const int32_t* position = nullptr;
  float* scores = nullptr;  ///< scratch: queries * 256 floats, 64-byte aligned
  /// Results of query i: largest score, sum of exp, and head_dim sums at out + i * out_stride, not
  /// divided yet. A query that sees nothing in the segment gets m = -inf, l = 0, zeros.
  float* m = nullptr;
  float* l = nullptr;
  float* out = nullptr;
  int64_t out_stride = 0;
};

struct VectorKernels {
  /// N5: y[i] = (x[i] * r) * w[i], r = 1/sqrtf(ss/n + eps). In place allowed.
  void (*rms_norm)(const float* x, const float* w, int32_t n, float eps, float* y);
  /// N6. The last group may be short: missing inputs count as 0. False when a value is not finite.
  bool (*quantise)(const float* x, int32_t n, const QuantisedRow& out);
  /// N6: what quantise() of `x` left: x[i] = x[i] - s * q[i], fused. Reads `q`, `s` and the
  /// strides.
  void (*keep_rest)(float* x, int32_t n, const QuantisedRow& of);
  /// N9: x[i] = x[i] + y[i].
  void (*add)(float* x, const float* y, int32_t n);
  /// The same for `rows` rows of n numbers, each `x_stride` and `y_stride` after the one before.
  void (*add_rows)(float* x, int64_t x_stride, const float* y, int64_t y_stride, int32_t rows,
                   int32_t n);
  /// N10 on one head in pairs (i, i + n/2): cos and sin hold n/2 values; then every value times
  /// `scale` (1 for keys; the product is skipped).
  void (*rotate)(float* head, int32_t n, const float* cos, const float* sin, float scale);
  /// N4: out[i] = silu(gate[i]) * up[i].
  void (*silu_mul)(const float* gate, const float* up, int32_t n, float* out);
  /// N11: writes one position of one kv head: `k`, `v` of head_dim floats into the unit at
  /// `unit`, at `offset` (0..15) in the block.
  void (*write_kv)(const KvLayout& layout, unsigned char* unit, int32_t offset, const float* k,
                   const float* v);
  /// N12, one segment.
  void (*attend)(const AttentionTask& task);
  /// N12: merges the next segment (b) into (a), ascending: o = fma(oB, b, oA * a) and so on.
  void (*merge)(float* m_a, float* l_a, float* out_a, float m_b, float l_b, const float* out_b,
                int32_t n);
  /// N12: out[i] = o[i] * (1/l).
  void (*finish)(const float* o, float l, int32_t n, float* out);
  /// Index of the largest, ties to the lowest; *finite becomes false when a value is not finite
  /// (never set to true). n >= 1.
  int32_t (*argmax)(const float* z, int32_t n, bool* finite);
  /// N14, one block: the largest, and the sum of exp(z - largest) by N3. False when a value is not
  /// finite; the rest is then meaningless. n >= 1.
  bool (*block_sum)(const float* z, int32_t n, float* max, float* sum);
  /// N15: out[i] = exp((z[i] - max) * scale).
  void (*exp_scaled)(const float* z, int32_t n, float max, float scale, float* out);
  /// Writes the indices i with low <= z[i] < high, ascending, to `out` (room for n); returns how
  /// many. Fast where they are few.
  int32_t (*between)(const float* z, int32_t n, float low, float high, int32_t* out);
};

const VectorKernels& vector_kernels_for(Isa isa);

}  // namespace troupe::native
