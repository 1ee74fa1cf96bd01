// AVX-512 with VNNI. A panel is one vector of 16 outputs wide. For each group the weights of the
// panel are unpacked once into eight registers and multiplied with every row of the tile; a row's
// four activations come as a broadcast operand of vpdpbusd. What bounds it on a Zen 4 core is the
// multiplying pipes: eight vpdpbusd, one product and one or two fma for each row and group.
#include <immintrin.h>

#include <utility>

#include "model/native/float_panel.h"
#include "model/native/matmul_isa.h"

namespace troupe::native {

namespace {

/// The rows of a tile a kernel works on, at the first group. A group later, q is 32 * stride on and
/// the others stride.
struct Rows {
  const int8_t* q;
  const float* s;
  const float* p;
  const int32_t* start;         ///< of sums, where unpack() adds something to the weights
  const int32_t* second_start;  ///< q6: of the second half of a group; start: of the first
  int64_t stride;               ///< rows of the whole tile
};

[[gnu::always_inline]] inline Rows rows_of(const ActivationTile& x, int first, PackKind kind) {
  const int32_t* start = kind == PackKind::w4   ? x.minus8
                         : kind == PackKind::q6 ? x.minus128_of[0]
                                                : x.minus128;
  const int32_t* second = kind == PackKind::q6 ? x.minus128_of[1] : nullptr;
  return {.q = x.q + int64_t{kGroup} * first,
          .s = x.s + first,
          .p = x.p + first,
          .start = start == nullptr ? nullptr : start + first,
          .second_start = second == nullptr ? nullptr : second + first,
          .stride = x.rows};
}

/// Four activations of one row, in every lane.
[[gnu::always_inline]] inline __m512i four(const int8_t* q) {
  int32_t word;
  __builtin_memcpy(&word, q, sizeof word);
  return _mm512_set1_epi32(word);
}

template <ScaleType kScales>
[[gnu::always_inline]] inline __m512 scales_at(const unsigned char* column) {
  if constexpr (kScales == ScaleType::f32)
    return _mm512_loadu_ps(column);
  else
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(column)));
}

/// One group of a panel: eight vectors of 16 rows x 4 inputs, unsigned bytes.
struct Weights {
  __m512i k[8];
};

template <PackKind kKind>
[[gnu::always_inline]] inline Weights unpack(const unsigned char* group) {
  Weights w;
  if constexpr (kKind == PackKind::w4 || kKind == PackKind::w4m) {
    const __m512i low = _mm512_set1_epi8(15);
    each<4>([&](auto j) __attribute__((always_inline)) {
      const __m512i line = _mm512_loadu_si512(group + 64 * j.value);
      w.k[2 * j.value] = _mm512_and_si512(line, low);
      w.k[2 * j.value + 1] = _mm512_and_si512(_mm512_srli_epi16(line, 4), low);
    });
  } else {
    each<8>([&](auto j) __attribute__((always_inline)) {
      w.k[j.value] = _mm512_loadu_si512(group + 64 * j.value);
      if constexpr (kKind == PackKind::w8 || kKind == PackKind::q6)  // int8 + 128
        w.k[j.value] = _mm512_xor_si512(w.k[j.value], _mm512_set1_epi8(-128));
    });
  }
  return w;
}

/// What a row's sum starts with: it takes back what unpack() added to each weight (w4: q is q - 8
/// plus 8).
template <PackKind kKind>
[[gnu::always_inline]] inline __m512i start_of(const int32_t* starts, int64_t row) {
  if constexpr (kKind == PackKind::w4 || kKind == PackKind::w8)
    return _mm512_set1_epi32(starts[row]);
  else
    return _mm512_setzero_si512();
}

/// From this many rows on, a group takes so long that the processor's own prefetching falls behind
/// the stream and gains from help; with fewer rows help costs up to a quarter of the bandwidth.
constexpr int kPrefetchRows = 6;

template <int kBytes>
[[gnu::always_inline]] inline void prefetch(const unsigned char* group) {
  constexpr int kAhead = 2048;
  each<(kBytes + 63) / 64>([&](auto j) __attribute__((always_inline)) {
    _mm_prefetch(reinterpret_cast<const char*>(group) + kAhead + 64 * j.value, _MM_HINT_T0);
  });
}

/// 16 rows take 29 to 31 of 32 registers, and clang begins more rows than it has registers for. Two
/// empty asm statements hold it back where that was not slower: a run of rows starts after the last
/// row of the one before, and scales come after sums. Found by trying, with other kinds left as
/// they are; tests/bench/kernel_loops_gate.py watches what comes of it.
template <PackKind kKind, ScaleType kScales, int kRows>
void bytes_panel(const unsigned char* group, int32_t groups, Rows x, float* out,
                 int64_t out_stride) {
  constexpr bool kFourBits = kKind == PackKind::w4 || kKind == PackKind::w4m;
  constexpr int kColumn = kFourBits ? 256 : 512;
  constexpr int kBatch = 4;  // rows whose integer sums are open at once
  __m512 acc[kRows];
  each<kRows>([&](auto r) __attribute__((always_inline)) { acc[r.value] = _mm512_setzero_ps(); });
  for (int64_t at = 0, end = groups * x.stride; at < end; at += x.stride) {
    if constexpr (kRows >= kPrefetchRows) prefetch<group_bytes(kKind, kScales)>(group);
    const Weights w = unpack<kKind>(group);
    const __m512 d = scales_at<kScales>(group + kColumn);
    __m512 m;
    if constexpr (has_min(kKind))
      m = scales_at<kScales>(group + kColumn + (kScales == ScaleType::f32 ? 64 : 32));
    each<(kRows + kBatch - 1) / kBatch>([&](auto batch) __attribute__((always_inline)) {
      constexpr int kFrom = batch.value * kBatch;
      constexpr int kSize = kRows - kFrom < kBatch ? kRows - kFrom : kBatch;
      if constexpr (!has_min(kKind) && kFrom > 0) asm("" : "+r"(x.start) : "v"(acc[kFrom - 1]));
      __m512i sum[kSize];
      each<8>([&](auto j) __attribute__((always_inline)) {
        each<kSize>([&](auto r) __attribute__((always_inline)) {
          const int8_t* q = x.q + kGroup * (kFrom + r.value) + 4 * j.value;
          sum[r.value] = _mm512_dpbusd_epi32(
              j.value == 0 ? start_of<kKind>(x.start, at + kFrom + r.value) : sum[r.value],
              w.k[j.value], four(q));
        });
      });
      if constexpr (!has_min(kKind)) asm("" : "+r"(x.s) : "v"(sum[kSize - 1]));
      each<kSize>([&](auto r) __attribute__((always_inline)) {
        constexpr int kRow = kFrom + r.value;
        const __m512 scale = _mm512_mul_ps(d, _mm512_set1_ps(x.s[at + kRow]));
        acc[kRow] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(sum[r.value]), acc[kRow]);
        if constexpr (has_min(kKind))
          acc[kRow] = _mm512_fmadd_ps(m, _mm512_set1_ps(x.p[at + kRow]), acc[kRow]);
      });
    });
    group += group_bytes(kKind, kScales);
    x.q += kGroup * x.stride;
  }
  each<kRows>([&](auto r) __attribute__((always_inline)) {
    _mm512_store_ps(out + r.value * out_stride, acc[r.value]);
  });
}

/// q6: two integer sums a row, each times its own int8 scale.
template <int kRows>
void q6_panel(const unsigned char* group, int32_t groups, Rows x, float* out, int64_t out_stride) {
  constexpr int kBatch = 4;
  __m512 acc[kRows];
  each<kRows>([&](auto r) __attribute__((always_inline)) { acc[r.value] = _mm512_setzero_ps(); });
  for (int64_t at = 0, end = groups * x.stride; at < end; at += x.stride) {
    if constexpr (kRows >= kPrefetchRows)
      prefetch<group_bytes(PackKind::q6, ScaleType::f16)>(group);
    const Weights w = unpack<PackKind::q6>(group);
    const auto* scales = reinterpret_cast<const __m128i*>(group + 512);
    const __m512 d = scales_at<ScaleType::f16>(group + 544);
    __m512i scale[2];
    each<2>([&](auto h) __attribute__((always_inline)) {
      scale[h.value] = _mm512_cvtepi8_epi32(_mm_loadu_si128(scales + h.value));
    });
    each<(kRows + kBatch - 1) / kBatch>([&](auto batch) __attribute__((always_inline)) {
      constexpr int kFrom = batch.value * kBatch;
      constexpr int kSize = kRows - kFrom < kBatch ? kRows - kFrom : kBatch;
      __m512i whole[kSize];
      each<2>([&](auto h) __attribute__((always_inline)) {
        __m512i sum[kSize];
        each<4>([&](auto j) __attribute__((always_inline)) {
          each<kSize>([&](auto r) __attribute__((always_inline)) {
            const int8_t* q = x.q + kGroup * (kFrom + r.value) + 16 * h.value + 4 * j.value;
            if constexpr (j.value == 0)
              sum[r.value] = _mm512_set1_epi32(
                  (h.value == 0 ? x.start : x.second_start)[at + kFrom + r.value]);
            sum[r.value] = _mm512_dpbusd_epi32(sum[r.value], w.k[4 * h.value + j.value], four(q));
          });
        });
        each<kSize>([&](auto r) __attribute__((always_inline)) {
          const __m512i scaled = _mm512_mullo_epi32(sum[r.value], scale[h.value]);
          whole[r.value] = h.value == 0 ? scaled : _mm512_add_epi32(whole[r.value], scaled);
        });
      });
      each<kSize>([&](auto r) __attribute__((always_inline)) {
        constexpr int kRow = kFrom + r.value;
        acc[kRow] = _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(x.s[at + kRow])),
                                    _mm512_cvtepi32_ps(whole[r.value]), acc[kRow]);
      });
    });
    group += group_bytes(PackKind::q6, ScaleType::f16);
    x.q += kGroup * x.stride;
  }
  each<kRows>([&](auto r) __attribute__((always_inline)) {
    _mm512_store_ps(out + r.value * out_stride, acc[r.value]);
  });
}

using PanelFn = void (*)(const unsigned char* group, int32_t groups, Rows x, float* out,
                         int64_t out_stride);

/// The kinds models are made of have a kernel for every number of rows; the others take more than
/// kRareRows in two passes.
constexpr int kRareRows = 8;

template <PackKind kKind, ScaleType kScales, size_t... kFewer>
PanelFn panel_among(int32_t rows, std::index_sequence<kFewer...>) {
  if constexpr (kKind == PackKind::q6) {
    static constexpr PanelFn kPanels[] = {q6_panel<kFewer + 1>...};
    return kPanels[rows - 1];
  } else {
    static constexpr PanelFn kPanels[] = {bytes_panel<kKind, kScales, kFewer + 1>...};
    return kPanels[rows - 1];
  }
}

template <PackKind kKind, ScaleType kScales, int kRowsMax>
PanelFn panel_of(int32_t rows) {
  return panel_among<kKind, kScales>(rows, std::make_index_sequence<size_t{kRowsMax}>());
}

bool is_common(const PackedMatrix& w) {
  return w.scales == ScaleType::f16 &&
         (w.kind == PackKind::w4 || w.kind == PackKind::w4m || w.kind == PackKind::w8);
}

PanelFn panel_of(const PackedMatrix& w, int32_t rows) {
  const bool wide = w.scales == ScaleType::f32;
  switch (w.kind) {
    case PackKind::w4:
      return panel_of<PackKind::w4, ScaleType::f16, kTileRows>(rows);
    case PackKind::w4m:
      return wide ? panel_of<PackKind::w4m, ScaleType::f32, kRareRows>(rows)
                  : panel_of<PackKind::w4m, ScaleType::f16, kTileRows>(rows);
    case PackKind::w8:
      return panel_of<PackKind::w8, ScaleType::f16, kTileRows>(rows);
    case PackKind::w8m:
      return wide ? panel_of<PackKind::w8m, ScaleType::f32, kRareRows>(rows)
                  : panel_of<PackKind::w8m, ScaleType::f16, kRareRows>(rows);
    default:
      return panel_of<PackKind::q6, ScaleType::f16, kRareRows>(rows);
  }
}

}  // namespace

void matmul_avx512(const PackedMatrix& w, int32_t first, int32_t count, const ActivationTile& x,
                   float* out, int64_t out_stride) {
  if (is_float(w.kind)) return matmul_floats_avx512(w, first, count, x, out, out_stride);
  const int32_t most = is_common(w) ? kTileRows : kRareRows;
  const unsigned char* const panel = w.data + w.panel_bytes() * first;
  each_run(
      x.rows, most, [&](int32_t from, int32_t rows) __attribute__((always_inline)) {
        const PanelFn fn = panel_of(w, rows);
        const Rows at = rows_of(x, from, w.kind);
        for (int32_t i = 0; i < count; ++i)
          fn(panel + w.panel_bytes() * i, w.groups, at,
             out + out_stride * from + int64_t{kPanelRows} * i, out_stride);
      });
}

}  // namespace troupe::native
