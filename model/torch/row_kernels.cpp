#include "model/torch/row_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/exact_math.h"
#include "model/step.h"

namespace troupe::torch_backend {

namespace {

constexpr int kLanes = 16;

// Each body is compiled twice: for any x86-64 and with AVX2; independent lanes let the compiler
// vectorise.
[[gnu::always_inline]] inline float dot_body(const float* a, const float* b, int32_t n) {
  float lanes[kLanes] = {};
  int32_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += a[i + lane] * b[i + lane];
  for (int lane = 0; i < n; ++i, ++lane) lanes[lane] += a[i] * b[i];
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  return lanes[0];
}

[[gnu::always_inline]] inline void attend_body(const PagedHead& kv, std::span<const int32_t> table,
                                               int32_t first, int32_t end, const float* q,
                                               std::span<float> scores, float* out) {
  const int32_t hd = kv.head_dim;
  const float scale = 1 / std::sqrt(static_cast<float>(hd));
  const auto row = [&](const float* base, int32_t pos) {
    return base + table[static_cast<size_t>(pos / kBlockPositions)] * kv.stride +
           int64_t{pos % kBlockPositions} * hd;
  };
  float max = -INFINITY;
  for (int32_t pos = first; pos < end; ++pos) {
    const float score = dot_body(q, row(kv.k, pos), hd) * scale;
    scores[static_cast<size_t>(pos - first)] = score;
    max = std::max(max, score);
  }
  float sum = 0;
  for (int32_t i = 0; i < end - first; ++i) {
    const float weight = exact_exp(scores[static_cast<size_t>(i)] - max);
    scores[static_cast<size_t>(i)] = weight;
    sum += weight;
  }
  std::fill_n(out, hd, 0.0f);
  for (int32_t pos = first; pos < end; ++pos) {
    const float weight = scores[static_cast<size_t>(pos - first)] / sum;
    const float* v = row(kv.v, pos);
    for (int32_t d = 0; d < hd; ++d) out[d] += weight * v[d];
  }
}

using Vector = float __attribute__((vector_size(32)));

[[gnu::always_inline]] inline Vector load(const float* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

/// M rows of x against each row of w. Enough independent sums (M * kSums) to hide the latency of an
/// fma.
template <int M>
[[gnu::always_inline]] inline void multiply_body(const float* x, int64_t k, const float* w,
                                                 int64_t rows, float* out, int64_t out_stride) {
  constexpr int kSums = M <= 2 ? 4 : M <= 4 ? 2 : 1;
  constexpr int kWidth = sizeof(Vector) / sizeof(float);
  for (int64_t r = 0; r < rows; ++r, w += k) {
    Vector sums[M][kSums] = {};
    int64_t i = 0;
    for (; i + kWidth * kSums <= k; i += kWidth * kSums)
      for (int s = 0; s < kSums; ++s) {
        const Vector weights = load(w + i + kWidth * s);
        for (int m = 0; m < M; ++m) sums[m][s] += weights * load(x + m * k + i + kWidth * s);
      }
    for (int m = 0; m < M; ++m) {
      for (int s = 1; s < kSums; ++s) sums[m][0] += sums[m][s];
      float sum = 0;
      for (int lane = 0; lane < kWidth; ++lane) sum += sums[m][0][lane];
      for (int64_t j = i; j < k; ++j) sum += w[j] * x[m * k + j];
      out[m * out_stride + r] = sum;
    }
  }
}

[[gnu::always_inline]] inline void multiply_any(const float* x, int32_t x_rows, int64_t k,
                                                const float* w, int64_t rows, float* out,
                                                int64_t out_stride) {
  switch (x_rows) {
    case 1:
      return multiply_body<1>(x, k, w, rows, out, out_stride);
    case 2:
      return multiply_body<2>(x, k, w, rows, out, out_stride);
    case 3:
      return multiply_body<3>(x, k, w, rows, out, out_stride);
    case 4:
      return multiply_body<4>(x, k, w, rows, out, out_stride);
    case 5:
      return multiply_body<5>(x, k, w, rows, out, out_stride);
    case 6:
      return multiply_body<6>(x, k, w, rows, out, out_stride);
    case 7:
      return multiply_body<7>(x, k, w, rows, out, out_stride);
    default:
      return multiply_body<8>(x, k, w, rows, out, out_stride);
  }
}

[[gnu::target("avx2,fma")]] void multiply_avx2(const float* x, int32_t x_rows, int64_t k,
                                               const float* w, int64_t rows, float* out,
                                               int64_t out_stride) {
  multiply_any(x, x_rows, k, w, rows, out, out_stride);
}

bool have_avx2() {
  static const bool have = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return have;
}

[[gnu::target("avx2,fma")]] void attend_avx2(const PagedHead& kv, std::span<const int32_t> table,
                                             int32_t first, int32_t end, const float* q,
                                             std::span<float> scores, float* out) {
  attend_body(kv, table, first, end, q, scores, out);
}

}  // namespace

void rms_norm(std::span<const float> x, std::span<const float> weight, float eps,
              std::span<float> y) {
  const auto n = static_cast<int32_t>(x.size());
  const float scale = 1 / std::sqrt(dot_body(x.data(), x.data(), n) / static_cast<float>(n) + eps);
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * weight[i];
}

void rotate_heads(std::span<float> heads, std::span<const float> cosine,
                  std::span<const float> sine) {
  const size_t half = cosine.size();
  for (size_t head = 0; head < heads.size(); head += 2 * half) {
    float* a = heads.data() + head;
    float* b = a + half;
    for (size_t i = 0; i < half; ++i) {
      const float x = a[i], y = b[i];
      a[i] = x * cosine[i] - y * sine[i];
      b[i] = y * cosine[i] + x * sine[i];
    }
  }
}

void multiply_few(const float* x, int32_t x_rows, int64_t k, const float* w, int64_t rows,
                  float* out, int64_t out_stride) {
  have_avx2() ? multiply_avx2(x, x_rows, k, w, rows, out, out_stride)
              : multiply_any(x, x_rows, k, w, rows, out, out_stride);
}

void attend_paged(const PagedHead& kv, std::span<const int32_t> table, int32_t first, int32_t end,
                  const float* q, std::span<float> scores, float* out) {
  have_avx2() ? attend_avx2(kv, table, first, end, q, scores, out)
              : attend_body(kv, table, first, end, q, scores, out);
}

}  // namespace troupe::torch_backend
