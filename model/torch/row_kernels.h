// The few computations that ATen would need many small calls for, as plain loops over float rows: a
// decode step is 30 layers of one row, where every call costs more than its arithmetic. Pure, any
// thread.
#pragma once

#include <cstdint>
#include <span>

namespace troupe::torch_backend {

/// y = x / sqrt(mean(x^2) + eps) * weight. x may be y. (Zhang, Sennrich 2019)
void rms_norm(std::span<const float> x, std::span<const float> weight, float eps,
              std::span<float> y);

/// Rotates the pairs (i, i + half) of each head in place by the angles whose cosines and sines are
/// given. heads: [n, 2 * half] contiguous; cosine, sine: [half].
void rotate_heads(std::span<float> heads, std::span<const float> cosine,
                  std::span<const float> sine);

/// out[m][r] = x[m] . w[r] for `rows` rows of w and m < x_rows <= kFewRowsMax: [x_rows, k] times
/// [rows, k]^T, with out_stride floats from one m to the next. So few rows are bound by reading w
/// once, where ATen's GEMM takes two to three times as long.
inline constexpr int32_t kFewRowsMax = 8;
void multiply_few(const float* x, int32_t x_rows, int64_t k, const float* w, int64_t rows,
                  float* out, int64_t out_stride);

/// KV of one (layer, kv head): block b's positions are rows [16, head_dim] at k + b * stride.
struct PagedHead {
  const float* k = nullptr;
  const float* v = nullptr;
  int64_t stride = 0;  ///< floats from one block to the next
  int32_t head_dim = 0;
};

/// Softmax(q k / sqrt(head_dim)) v of one query over positions [first, end) of the block table.
/// `scores` is scratch for end - first floats.
void attend_paged(const PagedHead& kv, std::span<const int32_t> table, int32_t first, int32_t end,
                  const float* q, std::span<float> scores, float* out);

}  // namespace troupe::torch_backend
