#include "model/torch/row_kernels.h"

#include <algorithm>
#include <cmath>

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

void attend_paged(const PagedHead& kv, std::span<const int32_t> table, int32_t first, int32_t end,
                  const float* q, std::span<float> scores, float* out) {
  static const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  avx2 ? attend_avx2(kv, table, first, end, q, scores, out)
       : attend_body(kv, table, first, end, q, scores, out);
}

}  // namespace troupe::torch_backend
