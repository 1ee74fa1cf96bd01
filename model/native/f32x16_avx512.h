// Sixteen float32 lanes in one zmm register. Same names and promises as f32x16_scalar.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace troupe::native {
namespace {

constexpr int kAccumulators = 24;  // of 32 registers

struct I32x16 {
  __m512i v;
};
struct F32x16 {
  __m512 v;
};

[[gnu::always_inline]] inline __mmask16 first_lanes(int n) {
  return static_cast<__mmask16>((1u << n) - 1u);
}

[[gnu::always_inline]] inline F32x16 broadcast(float x) { return {_mm512_set1_ps(x)}; }
[[gnu::always_inline]] inline F32x16 load(const float* from) { return {_mm512_loadu_ps(from)}; }
[[gnu::always_inline]] inline F32x16 load_first(const float* from, int n) {
  return {_mm512_maskz_loadu_ps(first_lanes(n), from)};
}
[[gnu::always_inline]] inline void store(float* to, F32x16 x) { _mm512_storeu_ps(to, x.v); }
[[gnu::always_inline]] inline void store_first(float* to, F32x16 x, int n) {
  _mm512_mask_storeu_ps(to, first_lanes(n), x.v);
}
[[gnu::always_inline]] inline F32x16 load_f16(const uint16_t* from) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)))};
}
[[gnu::always_inline]] inline F32x16 load_f16_first(const uint16_t* from, int n) {
  return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(n), from))};
}
[[gnu::always_inline]] inline void store_f16(uint16_t* to, F32x16 x) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(x.v, kNearest));
}
[[gnu::always_inline]] inline F32x16 load_i8(const int8_t* from) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))};
}
[[gnu::always_inline]] inline F32x16 load_i8_first(const int8_t* from, int n) {
  const __m128i bytes = _mm_maskz_loadu_epi8(first_lanes(n), from);
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))};
}
[[gnu::always_inline]] inline void store_i8(int8_t* to, I32x16 x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(x.v));
}

[[gnu::always_inline]] inline F32x16 operator+(F32x16 a, F32x16 b) {
  return {_mm512_add_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline F32x16 operator-(F32x16 a, F32x16 b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline F32x16 operator*(F32x16 a, F32x16 b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline F32x16 operator/(F32x16 a, F32x16 b) {
  return {_mm512_div_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline F32x16 operator-(F32x16 a) {
  return {_mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f))};
}
[[gnu::always_inline]] inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline F32x16 sqrt(F32x16 x) { return {_mm512_sqrt_ps(x.v)}; }
[[gnu::always_inline]] inline F32x16 max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline F32x16 min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline F32x16 select_less(F32x16 a, F32x16 b, F32x16 yes, F32x16 no) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), no.v, yes.v)};
}
[[gnu::always_inline]] inline F32x16 keep_lanes(F32x16 x, int from, int to, F32x16 other) {
  from = from < 0 ? 0 : from > 16 ? 16 : from;
  to = to < 0 ? 0 : to > 16 ? 16 : to;
  const auto kept = static_cast<__mmask16>(first_lanes(to) & ~first_lanes(from));
  return {_mm512_mask_blend_ps(kept, other.v, x.v)};
}
[[gnu::always_inline]] inline uint32_t lanes_less(F32x16 a, F32x16 b) {
  return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ);
}
[[gnu::always_inline]] inline int first_equal(F32x16 a, F32x16 x) {
  return __builtin_ctz(_mm512_cmp_ps_mask(a.v, x.v, _CMP_EQ_OQ) | 0x10000u);
}

[[gnu::always_inline]] inline __m256 upper_half(__m512 x) { return _mm512_extractf32x8_ps(x, 1); }
[[gnu::always_inline]] inline __m256i upper_half(__m512i x) {
  return _mm512_extracti32x8_epi32(x, 1);
}
[[gnu::always_inline]] inline float hsum(F32x16 x) {
  const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x.v), upper_half(x.v));
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
[[gnu::always_inline]] inline float hmax(F32x16 x) {
  const __m256 a = _mm256_max_ps(_mm512_castps512_ps256(x.v), upper_half(x.v));
  const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}

[[gnu::always_inline]] inline I32x16 magnitude(F32x16 x) {
  return {_mm512_and_si512(_mm512_castps_si512(x.v), _mm512_set1_epi32(0x7fffffff))};
}
[[gnu::always_inline]] inline I32x16 max(I32x16 a, I32x16 b) {
  return {_mm512_max_epi32(a.v, b.v)};
}
[[gnu::always_inline]] inline void hsums(I32x16 a, I32x16 b, int32_t out[2]) {
  const __m256i x = _mm256_add_epi32(_mm512_castsi512_si256(a.v), upper_half(a.v));
  const __m256i y = _mm256_add_epi32(_mm512_castsi512_si256(b.v), upper_half(b.v));
  const __m256i pairs = _mm256_hadd_epi32(x, y);
  const __m128i fours =
      _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
  _mm_storeu_si64(out, _mm_hadd_epi32(fours, fours));
}
[[gnu::always_inline]] inline int32_t hmax(I32x16 x) {
  const __m256i a = _mm256_max_epi32(_mm512_castsi512_si256(x.v), upper_half(x.v));
  const __m128i b = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  const __m128i c = _mm_max_epi32(b, _mm_shuffle_epi32(b, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(c, _mm_shuffle_epi32(c, 0xb1)));
}
[[gnu::always_inline]] inline I32x16 round_to_int(F32x16 x) { return {_mm512_cvtps_epi32(x.v)}; }
[[gnu::always_inline]] inline F32x16 scale_by_biased(F32x16 x, F32x16 biased) {
  const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(biased.v), 23);
  return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x.v), exponent))};
}

}  // namespace
}  // namespace troupe::native
