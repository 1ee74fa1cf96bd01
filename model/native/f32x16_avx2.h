// Sixteen float32 lanes in two ymm registers. Same names and promises as f32x16_scalar.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace troupe::native {
namespace {

constexpr int kAccumulators = 6;  // twelve of 16 registers

struct I32x16 {
  __m256i low, high;
};
struct F32x16 {
  __m256 low, high;
};

/// All ones in lanes i of 0..7 with i < n.
[[gnu::always_inline]] inline __m256i first_lanes(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

[[gnu::always_inline]] inline F32x16 broadcast(float x) {
  const __m256 all = _mm256_set1_ps(x);
  return {all, all};
}
[[gnu::always_inline]] inline F32x16 load(const float* from) {
  return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
}
[[gnu::always_inline]] inline F32x16 load_first(const float* from, int n) {
  return {_mm256_maskload_ps(from, first_lanes(n)),
          _mm256_maskload_ps(from + 8, first_lanes(n - 8))};
}
[[gnu::always_inline]] inline void store(float* to, F32x16 x) {
  _mm256_storeu_ps(to, x.low);
  _mm256_storeu_ps(to + 8, x.high);
}
[[gnu::always_inline]] inline void store_first(float* to, F32x16 x, int n) {
  _mm256_maskstore_ps(to, first_lanes(n), x.low);
  _mm256_maskstore_ps(to + 8, first_lanes(n - 8), x.high);
}
[[gnu::always_inline]] inline __m256 half_of_f16(const uint16_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
[[gnu::always_inline]] inline F32x16 load_f16(const uint16_t* from) {
  return {half_of_f16(from), half_of_f16(from + 8)};
}
[[gnu::always_inline]] inline F32x16 load_f16_first(const uint16_t* from, int n) {
  uint16_t lanes[16] = {};
  for (int i = 0; i < n; ++i) lanes[i] = from[i];
  return load_f16(lanes);
}
[[gnu::always_inline]] inline void store_f16(uint16_t* to, F32x16 x) {
  auto* halves = reinterpret_cast<__m128i*>(to);
  _mm_storeu_si128(halves, _mm256_cvtps_ph(x.low, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(halves + 1, _mm256_cvtps_ph(x.high, _MM_FROUND_TO_NEAREST_INT));
}
[[gnu::always_inline]] inline __m256 half_of_i8(const int8_t* from) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}
[[gnu::always_inline]] inline F32x16 load_i8(const int8_t* from) {
  return {half_of_i8(from), half_of_i8(from + 8)};
}
[[gnu::always_inline]] inline F32x16 load_i8_first(const int8_t* from, int n) {
  int8_t lanes[16] = {};
  for (int i = 0; i < n; ++i) lanes[i] = from[i];
  return load_i8(lanes);
}
[[gnu::always_inline]] inline void store_i8(int8_t* to, I32x16 x) {
  const __m256i words =  // lanes 0-3, 8-11, 4-7, 12-15
      _mm256_permute4x64_epi64(_mm256_packs_epi32(x.low, x.high), 0xd8);
  const __m128i bytes =
      _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
}

[[gnu::always_inline]] inline F32x16 operator+(F32x16 a, F32x16 b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
[[gnu::always_inline]] inline F32x16 operator-(F32x16 a, F32x16 b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
[[gnu::always_inline]] inline F32x16 operator*(F32x16 a, F32x16 b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
[[gnu::always_inline]] inline F32x16 operator/(F32x16 a, F32x16 b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
[[gnu::always_inline]] inline F32x16 operator-(F32x16 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_xor_ps(a.low, sign), _mm256_xor_ps(a.high, sign)};
}
[[gnu::always_inline]] inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
[[gnu::always_inline]] inline F32x16 sqrt(F32x16 x) {
  return {_mm256_sqrt_ps(x.low), _mm256_sqrt_ps(x.high)};
}
[[gnu::always_inline]] inline F32x16 max(F32x16 a, F32x16 b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
[[gnu::always_inline]] inline F32x16 min(F32x16 a, F32x16 b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
[[gnu::always_inline]] inline F32x16 select_less(F32x16 a, F32x16 b, F32x16 yes, F32x16 no) {
  return {_mm256_blendv_ps(no.low, yes.low, _mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ)),
          _mm256_blendv_ps(no.high, yes.high, _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ))};
}
[[gnu::always_inline]] inline F32x16 keep_lanes(F32x16 x, int from, int to, F32x16 other) {
  const __m256i low = _mm256_andnot_si256(first_lanes(from), first_lanes(to));
  const __m256i high = _mm256_andnot_si256(first_lanes(from - 8), first_lanes(to - 8));
  return {_mm256_blendv_ps(other.low, x.low, _mm256_castsi256_ps(low)),
          _mm256_blendv_ps(other.high, x.high, _mm256_castsi256_ps(high))};
}
[[gnu::always_inline]] inline uint32_t lanes_less(F32x16 a, F32x16 b) {
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ));
  return static_cast<uint32_t>(low | high << 8);
}
[[gnu::always_inline]] inline int first_equal(F32x16 a, F32x16 x) {
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(a.low, x.low, _CMP_EQ_OQ));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps(a.high, x.high, _CMP_EQ_OQ));
  return __builtin_ctz(static_cast<unsigned>(low | high << 8) | 0x10000u);
}

[[gnu::always_inline]] inline float hsum(F32x16 x) {
  const __m256 a = _mm256_add_ps(x.low, x.high);
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
[[gnu::always_inline]] inline float hmax(F32x16 x) {
  const __m256 a = _mm256_max_ps(x.low, x.high);
  const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}

[[gnu::always_inline]] inline I32x16 magnitude(F32x16 x) {
  const __m256i mask = _mm256_set1_epi32(0x7fffffff);
  return {_mm256_and_si256(_mm256_castps_si256(x.low), mask),
          _mm256_and_si256(_mm256_castps_si256(x.high), mask)};
}
[[gnu::always_inline]] inline I32x16 max(I32x16 a, I32x16 b) {
  return {_mm256_max_epi32(a.low, b.low), _mm256_max_epi32(a.high, b.high)};
}
[[gnu::always_inline]] inline void hsums(I32x16 a, I32x16 b, int32_t out[2]) {
  const __m256i pairs =
      _mm256_hadd_epi32(_mm256_add_epi32(a.low, a.high), _mm256_add_epi32(b.low, b.high));
  const __m128i fours =
      _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
  _mm_storeu_si64(out, _mm_hadd_epi32(fours, fours));
}
[[gnu::always_inline]] inline int32_t hmax(I32x16 x) {
  const __m256i a = _mm256_max_epi32(x.low, x.high);
  const __m128i b = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  const __m128i c = _mm_max_epi32(b, _mm_shuffle_epi32(b, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(c, _mm_shuffle_epi32(c, 0xb1)));
}
[[gnu::always_inline]] inline I32x16 round_to_int(F32x16 x) {
  return {_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(x.high)};
}
[[gnu::always_inline]] inline F32x16 scale_by_biased(F32x16 x, F32x16 biased) {
  const __m256i low = _mm256_slli_epi32(_mm256_castps_si256(biased.low), 23);
  const __m256i high = _mm256_slli_epi32(_mm256_castps_si256(biased.high), 23);
  return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x.low), low)),
          _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x.high), high))};
}

}  // namespace
}  // namespace troupe::native
