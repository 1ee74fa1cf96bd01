#include <immintrin.h>

#include "model/native/float_panel.h"
#include "model/native/matmul_isa.h"

namespace troupe::native {

namespace {

/// Lanes 0..7 and 8..15.
struct Floats {
  __m256 a, b;

  [[gnu::always_inline]] static Floats zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  [[gnu::always_inline]] static Floats all(float x) {
    const __m256 v = _mm256_set1_ps(x);
    return {v, v};
  }
  [[gnu::always_inline]] static Floats load(const float* at) {
    return {_mm256_load_ps(at), _mm256_load_ps(at + 8)};
  }
  [[gnu::always_inline]] static void store(float* at, Floats x) {
    _mm256_store_ps(at, x.a);
    _mm256_store_ps(at + 8, x.b);
  }
  [[gnu::always_inline]] static Floats add(Floats x, Floats y) {
    return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
  }
  [[gnu::always_inline]] static Floats fma(Floats x, Floats y, Floats z) {
    return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
  }
  template <PackKind kKind>
  [[gnu::always_inline]] static Floats number(const unsigned char* at) {
    if constexpr (kKind == PackKind::f32)
      return load(reinterpret_cast<const float*>(at));
    else
      return {eight<kKind>(at), eight<kKind>(at + 16)};
  }

 private:
  template <PackKind kKind>
  [[gnu::always_inline]] static __m256 eight(const unsigned char* at) {
    const __m128i halves = _mm_load_si128(reinterpret_cast<const __m128i*>(at));
    if constexpr (kKind == PackKind::f16)
      return _mm256_cvtph_ps(halves);
    else
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }
};

}  // namespace

void matmul_floats_avx2(const PackedMatrix& w, int32_t first, int32_t count,
                        const ActivationTile& x, float* out, int64_t out_stride) {
  float_matmul<Floats, 4>(w, first, count, x, out, out_stride);
}

}  // namespace troupe::native
