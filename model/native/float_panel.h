// Float weights (N8 of docs/performance.md), written once over a vector of 16 numbers for the
// per-ISA files. V: zero(), all(x), load(p), store(p, v), add(a, b), fma(a, b, c) and
// number<kind>(p), 16 weights as float32. V must be of an anonymous namespace, and so every
// instance of these templates is private to its file.
#pragma once

#include "model/native/activation_tile.h"
#include "model/native/packed_matrix.h"
#include "model/native/unroll.h"

namespace troupe::native {

/// f(from, size) for runs of at most `most` of `rows` rows, as even as can be.
template <class F>
[[gnu::always_inline]] inline void each_run(int32_t rows, int32_t most, F f) {
  const int32_t runs = (rows + most - 1) / most;
  for (int32_t i = 0; i < runs; ++i) {
    const int32_t from = rows * i / runs;
    f(from, rows * (i + 1) / runs - from);
  }
}

/// From this many rows on, a line takes so long that the processor's own prefetching gains from
/// help; with fewer rows help costs bandwidth.
constexpr int kFloatPrefetchRows = 4;

/// One group after the other, even for one row: the chains of fma of neighbouring groups overlap in
/// the processor, while reading several groups side by side costs two thirds of the bandwidth.
template <class V, PackKind kKind, int kRows>
void float_panel(const unsigned char* at, int32_t groups, const float* x, int64_t x_stride,
                 float* out, int64_t out_stride) {
  constexpr int kLine = group_bytes(kKind, ScaleType::f16) / kGroup;
  constexpr int kAhead = 2048;
  for (int r = 0; r < kRows; ++r) V::store(out + r * out_stride, V::zero());
  for (int32_t g = 0; g < groups; ++g, x += kGroup) {
    V b[kRows];
    each<kRows>([&](auto r) __attribute__((always_inline)) { b[r.value] = V::zero(); });
    for (int k = 0; k < kGroup; ++k, at += kLine) {
      if constexpr (kRows >= kFloatPrefetchRows) __builtin_prefetch(at + kAhead);
      const V w = V::template number<kKind>(at);
      each<kRows>([&](auto r) __attribute__((always_inline)) {
        b[r.value] = V::fma(w, V::all(x[r.value * x_stride + k]), b[r.value]);
      });
    }
    each<kRows>([&](auto r) __attribute__((always_inline)) {
      float* const acc = out + r.value * out_stride;
      V::store(acc, V::add(V::load(acc), b[r.value]));
    });
  }
}

using FloatPanelFn = void (*)(const unsigned char* at, int32_t groups, const float* x,
                              int64_t x_stride, float* out, int64_t out_stride);

template <class V, PackKind kKind, int kRowsMax>
[[gnu::always_inline]] inline FloatPanelFn float_panel_of(int32_t rows) {
  FloatPanelFn fn = nullptr;
  each<kRowsMax>([&](auto r) __attribute__((always_inline)) {
    if (rows == r.value + 1) fn = float_panel<V, kKind, r.value + 1>;
  });
  return fn;
}

/// matmul.h's promise for the float kinds; tiles of more than kRowsMax rows take several passes
/// over each panel.
template <class V, int kRowsMax>
[[gnu::always_inline]] inline void float_matmul(const PackedMatrix& w, int32_t first, int32_t count,
                                                const ActivationTile& x, float* out,
                                                int64_t out_stride) {
  for (int32_t i = 0; i < count; ++i) {
    const unsigned char* panel = w.data + w.panel_bytes() * (first + i);
    each_run(
        x.rows, kRowsMax, [&](int32_t from, int32_t rows) __attribute__((always_inline)) {
          const FloatPanelFn fn =
              w.kind == PackKind::f32   ? float_panel_of<V, PackKind::f32, kRowsMax>(rows)
              : w.kind == PackKind::f16 ? float_panel_of<V, PackKind::f16, kRowsMax>(rows)
                                        : float_panel_of<V, PackKind::bf16, kRowsMax>(rows);
          fn(panel, w.groups, x.x + x.x_stride * from, x.x_stride,
             out + out_stride * from + int64_t{kPanelRows} * i, out_stride);
        });
  }
}

}  // namespace troupe::native
