// Float weights (numerics.md N8), written once over a vector of 16 numbers for the per-ISA files.
// V: zero(), all(x), load(p), store(p, v), add(a, b), fma(a, b, c) and number<kind>(p), 16 weights
// as float32. V must be of an anonymous namespace, and so every instance of these templates is
// private to its file.
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

/// Adds kGroups groups' sums to `out`. The sums of several groups are independent chains, which
/// hides the latency of fma when the rows alone are too few.
template <class V, PackKind kKind, int kRows, int kGroups>
[[gnu::always_inline]] inline void add_groups(const unsigned char* at, const float* x,
                                              int64_t x_stride, float* out, int64_t out_stride) {
  constexpr int kLine = group_bytes(kKind, ScaleType::f16) / kGroup;
  V b[kGroups][kRows];
  each<kGroups>([&](auto g) __attribute__((always_inline)) {
    each<kRows>([&](auto r) __attribute__((always_inline)) { b[g.value][r.value] = V::zero(); });
  });
  for (int k = 0; k < kGroup; ++k) {
    each<kGroups>([&](auto g) __attribute__((always_inline)) {
      const V w = V::template number<kKind>(at + kLine * (kGroup * g.value + k));
      each<kRows>([&](auto r) __attribute__((always_inline)) {
        const V input = V::all(x[r.value * x_stride + kGroup * g.value + k]);
        b[g.value][r.value] = V::fma(w, input, b[g.value][r.value]);
      });
    });
  }
  each<kRows>([&](auto r) __attribute__((always_inline)) {
    V acc = V::load(out + r.value * out_stride);
    each<kGroups>([&](auto g)
                      __attribute__((always_inline)) { acc = V::add(acc, b[g.value][r.value]); });
    V::store(out + r.value * out_stride, acc);
  });
}

template <class V, PackKind kKind, int kRows>
void float_panel(const unsigned char* at, int32_t groups, const float* x, int64_t x_stride,
                 float* out, int64_t out_stride) {
  constexpr int kAtOnce = kRows == 1 ? 4 : kRows < 4 ? 2 : 1;
  constexpr int kBytes = group_bytes(kKind, ScaleType::f16);
  for (int r = 0; r < kRows; ++r) V::store(out + r * out_stride, V::zero());
  int32_t g = 0;
  for (; g + kAtOnce <= groups; g += kAtOnce)
    add_groups<V, kKind, kRows, kAtOnce>(at + int64_t{kBytes} * g, x + int64_t{kGroup} * g,
                                         x_stride, out, out_stride);
  for (; g < groups; ++g)
    add_groups<V, kKind, kRows, 1>(at + int64_t{kBytes} * g, x + int64_t{kGroup} * g, x_stride, out,
                                   out_stride);
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
