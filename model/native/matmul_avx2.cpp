// AVX2. A panel is two halves of eight outputs; each line of weights holds 32 bytes of either.
// Sixteen registers do not hold weights and accumulators both, so the accumulators stay in `out`:
// a load and a store a group cost less than unpacking the weights once more.
//
// Integer sums go through vpmaddubsw, which adds pairs in 16 bits. They never overflow:
//   w4, w4m  15 x 127 x 2 in each of eight products:             30,480
//   w8m      31 x 127 x 2 in each of four products:              31,496
//   q6       32 x 127 x 2 in each of four products:              32,512
//   w8       128 x 127 x 2, widened at once:                     32,512
// w8 and q6 multiply |w| with the activation that got w's sign; the mirror image, |a| with w's
// sign turned, would be wrong for w = -128.
#include <immintrin.h>

#include "model/native/float_panel.h"
#include "model/native/matmul_isa.h"

namespace troupe::native {

namespace {

constexpr int kHalf = kPanelRows / 2;

/// Four activations of one row, in every lane.
[[gnu::always_inline]] inline __m256i four(const int8_t* q) {
  int32_t word;
  __builtin_memcpy(&word, q, sizeof word);
  return _mm256_set1_epi32(word);
}

[[gnu::always_inline]] inline __m256i line_at(const unsigned char* at) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
}

/// Scales of half `half` of a column of 16.
template <ScaleType kScales>
[[gnu::always_inline]] inline __m256 scales_at(const unsigned char* column, int half) {
  if constexpr (kScales == ScaleType::f32)
    return _mm256_loadu_ps(reinterpret_cast<const float*>(column) + kHalf * half);
  else
    return _mm256_cvtph_ps(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(column + 2 * kHalf * half)));
}

[[gnu::always_inline]] inline __m256i widen(__m256i pairs) {
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/// acc = fma(d * s, I, acc), with acc in memory.
[[gnu::always_inline]] inline void add_scaled(float* acc, __m256 d, float s, __m256i whole) {
  const __m256 scale = _mm256_mul_ps(d, _mm256_set1_ps(s));
  _mm256_store_ps(acc, _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(whole), _mm256_load_ps(acc)));
}

/// One group of half a panel: eight vectors of 8 rows x 4 inputs, unsigned bytes.
struct Weights {
  __m256i k[8];
};

template <PackKind kKind>
[[gnu::always_inline]] inline Weights unpack(const unsigned char* group) {
  Weights w;
  if constexpr (kKind == PackKind::w8m) {
    each<8>([&](auto j)
                __attribute__((always_inline)) { w.k[j.value] = line_at(group + 64 * j.value); });
  } else {
    const __m256i low = _mm256_set1_epi8(15);
    each<4>([&](auto j) __attribute__((always_inline)) {
      const __m256i line = line_at(group + 64 * j.value);
      w.k[2 * j.value] = _mm256_and_si256(line, low);
      w.k[2 * j.value + 1] = _mm256_and_si256(_mm256_srli_epi16(line, 4), low);
    });
  }
  return w;
}

template <PackKind kKind>
[[gnu::always_inline]] inline __m256i dot(const Weights& w, const int8_t* q) {
  constexpr int kSums = kKind == PackKind::w8m ? 2 : 1;
  __m256i sum[kSums];
  each<8>([&](auto j) __attribute__((always_inline)) {
    constexpr int kSum = j.value * kSums / 8;
    const __m256i pairs = _mm256_maddubs_epi16(w.k[j.value], four(q + 4 * j.value));
    sum[kSum] = j.value % (8 / kSums) == 0 ? pairs : _mm256_add_epi16(sum[kSum], pairs);
  });
  if constexpr (kSums == 2) return _mm256_add_epi32(widen(sum[0]), widen(sum[1]));
  return widen(sum[0]);
}

/// From this many rows on, a group takes so long that the processor's own prefetching gains from
/// help.
constexpr int kPrefetchRows = 3;

/// Half of a group's scales: acc = fma(m, p, fma(d * s, I, acc)) for one row, acc in memory.
template <PackKind kKind, ScaleType kScales>
struct Scales {
  static constexpr int kColumn = kKind == PackKind::w4 || kKind == PackKind::w4m ? 256 : 512;
  __m256 d, m;

  [[gnu::always_inline]] Scales(const unsigned char* group, int half)
      : d(scales_at<kScales>(group + kColumn, half)), m(_mm256_setzero_ps()) {
    if constexpr (has_min(kKind))
      m = scales_at<kScales>(group + kColumn + (kScales == ScaleType::f32 ? 64 : 32), half);
  }

  [[gnu::always_inline]] void add_to(float* acc, __m256i whole, const ActivationTile& x,
                                     int64_t row) const {
    if constexpr (kKind == PackKind::w4)  // q is q - 8 plus 8
      whole = _mm256_add_epi32(whole, _mm256_set1_epi32(x.minus8[row]));
    const __m256 scale = _mm256_mul_ps(d, _mm256_set1_ps(x.s[row]));
    __m256 sum = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(whole), _mm256_load_ps(acc));
    if constexpr (has_min(kKind)) sum = _mm256_fmadd_ps(m, _mm256_set1_ps(x.p[row]), sum);
    _mm256_store_ps(acc, sum);
  }
};

/// w4, w4m, w8m: weights that are not negative. Many rows: half a panel at a time, unpacked once.
template <PackKind kKind, ScaleType kScales>
void unsigned_many(const unsigned char* group, const ActivationTile& x, int64_t at, float* out,
                   int64_t out_stride) {
  for (int half = 0; half < 2; ++half) {
    const Weights w = unpack<kKind>(group + 32 * half);
    const Scales<kKind, kScales> scales(group, half);
    const ActivationTile tile = x;  // a copy, which the stores to `out` cannot change
    float* acc = out + kHalf * half;
    for (int64_t row = at; row < at + tile.rows; ++row, acc += out_stride)
      scales.add_to(acc, dot<kKind>(w, tile.q + kGroup * row), tile, row);
  }
}

/// Few rows: line by line, front to back, for the sake of the processor's prefetching (by halves,
/// one row reached a third of the bandwidth).
template <PackKind kKind, ScaleType kScales, int kRows>
void unsigned_few(const unsigned char* group, const ActivationTile& x, int64_t at, float* out,
                  int64_t out_stride) {
  constexpr bool kFourBits = kKind != PackKind::w8m;
  constexpr int kSums = kFourBits ? 1 : 2;
  const __m256i low = _mm256_set1_epi8(15);
  __m256i sum[2][kRows][kSums];
  const auto add = [&](auto half, auto chunk, __m256i w) __attribute__((always_inline)) {
    constexpr int kSum = chunk.value * kSums / 8;
    each<kRows>([&](auto r) __attribute__((always_inline)) {
      const int8_t* q = x.q + kGroup * (at + r.value) + 4 * chunk.value;
      const __m256i pairs = _mm256_maddubs_epi16(w, four(q));
      __m256i& to = sum[half.value][r.value][kSum];
      to = chunk.value % (8 / kSums) == 0 ? pairs : _mm256_add_epi16(to, pairs);
    });
  };
  each<kFourBits ? 4 : 8>([&](auto j) __attribute__((always_inline)) {
    each<2>([&](auto half) __attribute__((always_inline)) {
      const __m256i line = line_at(group + 64 * j.value + 32 * half.value);
      if constexpr (kFourBits) {
        add(half, Index<2 * j.value>{}, _mm256_and_si256(line, low));
        add(half, Index<2 * j.value + 1>{}, _mm256_and_si256(_mm256_srli_epi16(line, 4), low));
      } else {
        add(half, j, line);
      }
    });
  });
  each<2>([&](auto half) __attribute__((always_inline)) {
    const Scales<kKind, kScales> scales(group, half.value);
    each<kRows>([&](auto r) __attribute__((always_inline)) {
      __m256i whole = widen(sum[half.value][r.value][0]);
      if constexpr (kSums == 2)
        whole = _mm256_add_epi32(whole, widen(sum[half.value][r.value][kSums - 1]));
      scales.add_to(out + r.value * out_stride + kHalf * half.value, whole, x, at + r.value);
    });
  });
}

/// The group's function for a number of rows.
using GroupFn = void (*)(const unsigned char* group, const ActivationTile& x, int64_t at,
                         float* out, int64_t out_stride);

template <PackKind kKind, ScaleType kScales>
GroupFn unsigned_of(int32_t rows) {
  switch (rows) {
    case 1:
      return unsigned_few<kKind, kScales, 1>;
    case 2:
      return unsigned_few<kKind, kScales, 2>;
    default:
      return unsigned_many<kKind, kScales>;
  }
}

/// |w| times the activation with w's sign, four inputs of eight rows, in pairs.
[[gnu::always_inline]] inline __m256i signed_pairs(__m256i size, __m256i w, const int8_t* q) {
  return _mm256_maddubs_epi16(size, _mm256_sign_epi8(four(q), w));
}

/// The sum is made here and now: clang else adds up in trees, for which the registers do not
/// suffice.
[[gnu::always_inline]] inline void pin(__m256i& sum) { asm("" : "+x"(sum)); }

/// w8: line by line, with the sums of kRows rows in registers.
template <int kRows>
[[gnu::always_inline]] inline void signed_rows(const unsigned char* group, int half,
                                               const ActivationTile& x, int64_t at, float* acc,
                                               int64_t out_stride) {
  const int8_t* q = x.q + kGroup * at;
  __m256i sum[kRows];
  each<8>([&](auto j) __attribute__((always_inline)) {
    const __m256i w = line_at(group + 64 * j.value + 32 * half);
    const __m256i size = _mm256_abs_epi8(w);
    each<kRows>([&](auto r) __attribute__((always_inline)) {
      const __m256i part = widen(signed_pairs(size, w, q + kGroup * r.value + 4 * j.value));
      sum[r.value] = j.value == 0 ? part : _mm256_add_epi32(sum[r.value], part);
      pin(sum[r.value]);
    });
  });
  const __m256 d = scales_at<ScaleType::f16>(group + 512, half);
  each<kRows>([&](auto r) __attribute__((always_inline)) {
    add_scaled(acc + r.value * out_stride, d, x.s[at + r.value], sum[r.value]);
  });
}

/// q6: two sums of 16 inputs, each times its own int8 scale.
template <int kRows>
[[gnu::always_inline]] inline void q6_rows(const unsigned char* group, int half,
                                           const ActivationTile& x, int64_t at, float* acc,
                                           int64_t out_stride) {
  const int8_t* q = x.q + kGroup * at;
  __m256i whole[kRows];
  each<2>([&](auto part) __attribute__((always_inline)) {
    __m256i sum[kRows];
    each<4>([&](auto j) __attribute__((always_inline)) {
      constexpr int kLine = 4 * part.value + j.value;
      const __m256i w = line_at(group + 64 * kLine + 32 * half);
      const __m256i size = _mm256_abs_epi8(w);
      each<kRows>([&](auto r) __attribute__((always_inline)) {
        const __m256i pairs = signed_pairs(size, w, q + kGroup * r.value + 4 * kLine);
        sum[r.value] = j.value == 0 ? pairs : _mm256_add_epi16(sum[r.value], pairs);
        pin(sum[r.value]);
      });
    });
    const __m256i scale = _mm256_cvtepi8_epi32(_mm_loadl_epi64(
        reinterpret_cast<const __m128i*>(group + 512 + kPanelRows * part.value + kHalf * half)));
    each<kRows>([&](auto r) __attribute__((always_inline)) {
      const __m256i scaled = _mm256_mullo_epi32(widen(sum[r.value]), scale);
      whole[r.value] = part.value == 0 ? scaled : _mm256_add_epi32(whole[r.value], scaled);
    });
  });
  const __m256 d = scales_at<ScaleType::f16>(group + 544, half);
  each<kRows>([&](auto r) __attribute__((always_inline)) {
    add_scaled(acc + r.value * out_stride, d, x.s[at + r.value], whole[r.value]);
  });
}

/// w8 and q6: the rows of the tile in fours, then one by one.
template <PackKind kKind>
void signed_group(const unsigned char* group, const ActivationTile& x, int64_t at, float* out,
                  int64_t out_stride) {
  const auto rows = [&]<int kRows>(int half, Index<kRows>, int32_t row)
      __attribute__((always_inline)) {
    float* acc = out + out_stride * row + kHalf * half;
    if constexpr (kKind == PackKind::q6)
      q6_rows<kRows>(group, half, x, at + row, acc, out_stride);
    else
      signed_rows<kRows>(group, half, x, at + row, acc, out_stride);
  };
  for (int half = 0; half < 2; ++half) {
    int32_t row = 0;
    for (; row + 4 <= x.rows; row += 4) rows(half, Index<4>{}, row);
    for (; row < x.rows; ++row) rows(half, Index<1>{}, row);
  }
}

template <PackKind kKind, ScaleType kScales>
void bytes_matmul(const PackedMatrix& w, int32_t first, int32_t count, const ActivationTile& x,
                  float* out, int64_t out_stride) {
  constexpr int kBytes = group_bytes(kKind, kScales);
  constexpr int kAhead = 2048;
  GroupFn add_group = signed_group<kKind>;
  if constexpr (kKind != PackKind::w8 && kKind != PackKind::q6)
    add_group = unsigned_of<kKind, kScales>(x.rows);
  const unsigned char* group = w.data + w.panel_bytes() * first;
  for (int32_t i = 0; i < count; ++i, out += kPanelRows) {
    for (int32_t row = 0; row < x.rows; ++row) {
      _mm256_store_ps(out + row * out_stride, _mm256_setzero_ps());
      _mm256_store_ps(out + row * out_stride + kHalf, _mm256_setzero_ps());
    }
    for (int32_t g = 0; g < w.groups; ++g, group += kBytes) {
      if (x.rows >= kPrefetchRows)
        for (int line = 0; line < kBytes; line += 64)
          _mm_prefetch(reinterpret_cast<const char*>(group) + kAhead + line, _MM_HINT_T0);
      add_group(group, x, int64_t{g} * x.rows, out, out_stride);
    }
  }
}

}  // namespace

void matmul_avx2(const PackedMatrix& w, int32_t first, int32_t count, const ActivationTile& x,
                 float* out, int64_t out_stride) {
  const bool wide = w.scales == ScaleType::f32;
  const auto matmul =
      w.kind == PackKind::w4    ? bytes_matmul<PackKind::w4, ScaleType::f16>
      : w.kind == PackKind::w4m ? (wide ? bytes_matmul<PackKind::w4m, ScaleType::f32>
                                        : bytes_matmul<PackKind::w4m, ScaleType::f16>)
      : w.kind == PackKind::w8  ? bytes_matmul<PackKind::w8, ScaleType::f16>
      : w.kind == PackKind::w8m ? (wide ? bytes_matmul<PackKind::w8m, ScaleType::f32>
                                        : bytes_matmul<PackKind::w8m, ScaleType::f16>)
      : w.kind == PackKind::q6  ? bytes_matmul<PackKind::q6, ScaleType::f16>
                                : matmul_floats_avx2;
  matmul(w, first, count, x, out, out_stride);
}

}  // namespace troupe::native
