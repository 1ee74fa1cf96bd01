// The AMX kernel, over a class that stands for the tile registers: matmul_amx.cpp gives it the
// instructions, a test gives it an emulation of them. A group of 32 inputs is one product of tiles
// (rows x 32 activations, 32 x 16 weights: a line of packed_matrix.h is a row of the second tile);
// the sums in float follow in AVX-512 while the next group's product is under way.
//
// Tiles: the constructor sets up a product of `rows` x 32 by 32 x 16 bytes, release() gives the
// tile state back (no destructor: its unwinding code would be shared between files); zero_c(),
// load_a(at, stride), load_b(at, stride), dot_signed() (int8 x int8), dot_unsigned() (int8 x
// uint8), store_c(at, stride), strides in bytes. Tiles must be of an anonymous namespace, and so
// every instance of these templates is private to its file.
#pragma once

#include <immintrin.h>

#include "model/native/activation_tile.h"
#include "model/native/packed_matrix.h"
#include "model/native/unroll.h"

namespace troupe::native {

[[gnu::always_inline]] inline bool tiles_serve(PackKind kind) {
  return kind == PackKind::w4 || kind == PackKind::w4m || kind == PackKind::w8 ||
         kind == PackKind::w8m;
}

template <ScaleType kScales>
[[gnu::always_inline]] inline __m512 tile_scales(const unsigned char* column) {
  if constexpr (kScales == ScaleType::f32)
    return _mm512_loadu_ps(column);
  else
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(column)));
}

/// Bytes of a group for the second tile: w4 as int8 (q - 8), w4m as uint8; others as they lie.
template <PackKind kKind>
[[gnu::always_inline]] inline const unsigned char* tile_bytes(const unsigned char* group,
                                                              unsigned char* scratch) {
  if constexpr (kKind == PackKind::w8 || kKind == PackKind::w8m) return group;
  const __m512i low = _mm512_set1_epi8(15);
  each<4>([&](auto j) __attribute__((always_inline)) {
    const __m512i line = _mm512_loadu_si512(group + 64 * j.value);
    __m512i a = _mm512_and_si512(line, low);
    __m512i b = _mm512_and_si512(_mm512_srli_epi16(line, 4), low);
    if constexpr (kKind == PackKind::w4) {
      a = _mm512_sub_epi8(a, _mm512_set1_epi8(8));
      b = _mm512_sub_epi8(b, _mm512_set1_epi8(8));
    }
    _mm512_store_si512(scratch + 128 * j.value, a);
    _mm512_store_si512(scratch + 128 * j.value + 64, b);
  });
  return scratch;
}

/// sums[row][16] = integer sums of a group for all rows.
template <class Tiles, PackKind kKind>
[[gnu::always_inline]] inline void multiply_group(Tiles& tiles, const unsigned char* group,
                                                  const int8_t* q, unsigned char* scratch,
                                                  int32_t* sums) {
  const unsigned char* bytes = tile_bytes<kKind>(group, scratch);
  tiles.zero_c();
  tiles.load_a(q, kGroup);
  tiles.load_b(bytes, 64);
  if constexpr (kKind == PackKind::w4m)
    tiles.dot_unsigned();
  else
    tiles.dot_signed();
  tiles.store_c(sums, 64);
}

/// acc = fma(d * s, I, acc), then fma(m, p, acc), for all rows; acc is the output itself.
template <PackKind kKind, ScaleType kScales>
[[gnu::always_inline]] inline void add_group(const unsigned char* group, const int32_t* sums,
                                             const ActivationTile& x, int64_t at, float* out,
                                             int64_t out_stride) {
  constexpr int kColumn = kKind == PackKind::w4 || kKind == PackKind::w4m ? 256 : 512;
  const __m512 d = tile_scales<kScales>(group + kColumn);
  __m512 m = _mm512_setzero_ps();
  if constexpr (has_min(kKind))
    m = tile_scales<kScales>(group + kColumn + (kScales == ScaleType::f32 ? 64 : 32));
  const float *s = x.s + at, *p = x.p + at;
  const int32_t rows = x.rows;
  for (int32_t row = 0; row < rows; ++row) {
    float* const acc = out + out_stride * row;
    const __m512 whole = _mm512_cvtepi32_ps(_mm512_load_si512(sums + kPanelRows * row));
    const __m512 scale = _mm512_mul_ps(d, _mm512_set1_ps(s[row]));
    __m512 sum = _mm512_fmadd_ps(scale, whole, _mm512_load_ps(acc));
    if constexpr (has_min(kKind)) sum = _mm512_fmadd_ps(m, _mm512_set1_ps(p[row]), sum);
    _mm512_store_ps(acc, sum);
  }
}

template <class Tiles, PackKind kKind, ScaleType kScales>
void tile_matmul_of(const PackedMatrix& w, int32_t first, int32_t count, const ActivationTile& x,
                    float* out, int64_t out_stride) {
  constexpr int kBytes = group_bytes(kKind, kScales);
  constexpr int kAhead = 2048;  // as in matmul_avx512.cpp
  // Two of each: a group's product is under way while the one before it is read.
  alignas(64) unsigned char scratch[2][kGroup * kPanelRows];
  alignas(64) int32_t sums[2][kTileRows * kPanelRows];
  Tiles tiles(x.rows);
  const unsigned char* group = w.data + w.panel_bytes() * first;
  for (int32_t i = 0; i < count; ++i, out += kPanelRows) {
    for (int32_t row = 0; row < x.rows; ++row)
      _mm512_store_ps(out + out_stride * row, _mm512_setzero_ps());
    if (w.groups > 0) multiply_group<Tiles, kKind>(tiles, group, x.q, scratch[0], sums[0]);
    for (int32_t g = 0; g < w.groups; ++g, group += kBytes) {
      for (int line = 0; line < kBytes; line += 64)
        _mm_prefetch(reinterpret_cast<const char*>(group) + kAhead + line, _MM_HINT_T0);
      const int next = (g + 1) % 2;
      const int64_t at = int64_t{g} * x.rows;
      if (g + 1 < w.groups)
        multiply_group<Tiles, kKind>(tiles, group + kBytes, x.q + kGroup * (at + x.rows),
                                     scratch[next], sums[next]);
      add_group<kKind, kScales>(group, sums[g % 2], x, at, out, out_stride);
    }
  }
  tiles.release();
}

/// matmul.h's promise for the kinds that tiles_serve().
template <class Tiles>
[[gnu::always_inline]] inline void tile_matmul(const PackedMatrix& w, int32_t first, int32_t count,
                                               const ActivationTile& x, float* out,
                                               int64_t out_stride) {
  const bool wide = w.scales == ScaleType::f32;
  const auto matmul = w.kind == PackKind::w4 ? tile_matmul_of<Tiles, PackKind::w4, ScaleType::f16>
                      : w.kind == PackKind::w4m
                          ? (wide ? tile_matmul_of<Tiles, PackKind::w4m, ScaleType::f32>
                                  : tile_matmul_of<Tiles, PackKind::w4m, ScaleType::f16>)
                      : w.kind == PackKind::w8 ? tile_matmul_of<Tiles, PackKind::w8, ScaleType::f16>
                      : wide ? tile_matmul_of<Tiles, PackKind::w8m, ScaleType::f32>
                             : tile_matmul_of<Tiles, PackKind::w8m, ScaleType::f16>;
  matmul(w, first, count, x, out, out_stride);
}

}  // namespace troupe::native
