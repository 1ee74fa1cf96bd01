#include <immintrin.h>

#include "model/native/float_panel.h"
#include "model/native/matmul_isa.h"

namespace troupe::native {

namespace {

struct Floats {
  __m512 v;

  [[gnu::always_inline]] static Floats zero() { return {_mm512_setzero_ps()}; }
  [[gnu::always_inline]] static Floats all(float x) { return {_mm512_set1_ps(x)}; }
  [[gnu::always_inline]] static Floats load(const float* at) { return {_mm512_load_ps(at)}; }
  [[gnu::always_inline]] static void store(float* at, Floats a) { _mm512_store_ps(at, a.v); }
  [[gnu::always_inline]] static Floats add(Floats a, Floats b) { return {_mm512_add_ps(a.v, b.v)}; }
  [[gnu::always_inline]] static Floats fma(Floats a, Floats b, Floats c) {
    return {_mm512_fmadd_ps(a.v, b.v, c.v)};
  }
  template <PackKind kKind>
  [[gnu::always_inline]] static Floats number(const unsigned char* at) {
    if constexpr (kKind == PackKind::f32) {
      return {_mm512_load_ps(at)};
    } else {
      const __m256i halves = _mm256_load_si256(reinterpret_cast<const __m256i*>(at));
      if constexpr (kKind == PackKind::f16)
        return {_mm512_cvtph_ps(halves)};
      else
        return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))};
    }
  }
};

}  // namespace

void matmul_floats_avx512(const PackedMatrix& w, int32_t first, int32_t count,
                          const ActivationTile& x, float* out, int64_t out_stride) {
  float_matmul<Floats, 8>(w, first, count, x, out, out_stride);
}

}  // namespace troupe::native
