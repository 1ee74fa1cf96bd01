// Attention of up to 256 positions (N12 of docs/performance.md), written once over 16 lanes: scores
// with lanes = positions, sums of values with lanes = dimensions, both in register tiles of several
// queries, so that a key or value is read and converted once a tile. Include one f32x16_*.h first.
//
// Every score and every sum is one fma chain of its own, so a tile's shape changes no bit. A query
// may share a tile with one that sees more positions: its weight there is +0 and adds exactly
// nothing, because the value is finite and a sum is never -0 (it starts at +0, and a product that
// isn't zero is at least exp(-64) * 2^-24 / 127, which float32 holds).
#pragma once

#include <cstdint>

#include "model/native/kv_bodies.h"
#include "model/native/lane_math.h"
#include "model/native/vector_kernels.h"

namespace troupe::native {
namespace {

/// Largest number of queries in one register tile.
constexpr int kTileQueries = kAccumulators < 8 ? kAccumulators : 8;

/// How many accumulators a query of a tile may have: a power of two.
constexpr int per_query(int queries) {
  int count = 8;
  while (count > 1 && count * queries > kAccumulators) count /= 2;
  return count;
}

/// Positions of a segment that one query, or a tile of them, looks at: [from, to), relative to the
/// segment's start; empty when from >= to.
struct Seen {
  int32_t from = 0, to = 0;
};

[[gnu::always_inline]] inline Seen seen_by(const AttentionTask& task, int32_t query) {
  const int32_t start = task.segment * kSegment;
  const int32_t p = task.position[query] - start;
  const int32_t first = task.window > 0 ? p - task.window + 1 : 0;
  return {first > 0 ? first : 0, p + 1 < kSegment ? p + 1 : kSegment};
}

[[gnu::always_inline]] inline const unsigned char* unit_at(const AttentionTask& task,
                                                           int32_t block) {
  const int32_t id = task.table[task.segment * (kSegment / kKvBlock) + block];
  return task.layer + task.layout.unit(id, task.kv_head);
}

/// Scores of kQ queries from `q0` on against kB blocks from `block` on.
template <class Unit, int kQ, int kB>
void score_tile(const AttentionTask& task, int32_t q0, int32_t block) {
  const int32_t dims = task.layout.head_dim;
  Unit unit[kB];
  unroll<kB>([&](auto b) { unit[b.value].open(unit_at(task, block + b.value), dims); });
  const float* q[kQ];
  unroll<kQ>([&](auto i) { q[i.value] = task.q + task.q_offset[q0 + i.value]; });
  F32x16 sum[kQ][kB];
  unroll<kQ>([&](auto i) { unroll<kB>([&](auto b) { sum[i.value][b.value] = broadcast(0.0f); }); });
  for (int32_t d = 0; d < dims; ++d) {
    F32x16 key[kB];
    unroll<kB>([&](auto b) { key[b.value] = unit[b.value].key(d); });
    unroll<kQ>([&](auto i) {
      const F32x16 x = broadcast(q[i.value][d]);
      unroll<kB>(
          [&](auto b) { sum[i.value][b.value] = fma(x, key[b.value], sum[i.value][b.value]); });
    });
    unroll<kB>([&](auto b) { unit[b.value].ask_for_values(d); });
  }
  float* scores = task.scores + int64_t{q0} * kSegment + block * kKvBlock;
  unroll<kQ>([&](auto i) {
    unroll<kB>([&](auto b) {
      store(scores + i.value * kSegment + b.value * kKvBlock, sum[i.value][b.value]);
    });
  });
}

/// Blocks [from, to), kB at a time, the rest in halves.
template <class Unit, int kQ, int kB>
[[gnu::always_inline]] inline void score_blocks(const AttentionTask& task, int32_t q0, int32_t from,
                                                int32_t to) {
  for (; from + kB <= to; from += kB) score_tile<Unit, kQ, kB>(task, q0, from);
  if constexpr (kB > 1) score_blocks<Unit, kQ, kB / 2>(task, q0, from, to);
}

/// Scores of blocks [from, to) become weights exp(score - m), +0 where the query doesn't look.
inline void softmax(const AttentionTask& task, int32_t query, int32_t from, int32_t to) {
  const Seen seen = seen_by(task, query);
  float* scores = task.scores + int64_t{query} * kSegment;
  const F32x16 nothing = broadcast(kMinusInfinity);
  const auto masked = [&](int32_t pos, F32x16 x, F32x16 other) {
    const bool whole = seen.from <= pos && pos + 16 <= seen.to;
    return whole ? x : keep_lanes(x, seen.from - pos, seen.to - pos, other);
  };
  F32x16 largest = nothing;
  for (int32_t pos = from * kKvBlock; pos < to * kKvBlock; pos += 16)
    largest = max(masked(pos, load(scores + pos), nothing), largest);
  const float m = hmax(largest);
  const F32x16 shift = broadcast(m == kMinusInfinity ? 0.0f : m);
  F32x16 sum = broadcast(0.0f);
  for (int32_t pos = from * kKvBlock; pos < to * kKvBlock; pos += 16) {
    const F32x16 e = masked(pos, exp(load(scores + pos) - shift), broadcast(0.0f));
    store(scores + pos, e);
    sum = sum + e;
  }
  task.m[query] = m;
  task.l[query] = hsum(sum);
}

template <class Lanes>
constexpr bool kAllLanes = false;
template <>
constexpr bool kAllLanes<Index<16>> = true;

/// Sums of dimensions d .. d + 16 * kD - 1 for kQ queries over positions `seen`. `lanes`:
/// Index<16>, or how many dimensions the one group of lanes has.
template <class Unit, int kQ, int kD, class Lanes>
void value_tile(const AttentionTask& task, int32_t q0, Seen seen, int32_t d, Lanes lanes) {
  F32x16 sum[kQ][kD];
  unroll<kQ>([&](auto i) { unroll<kD>([&](auto j) { sum[i.value][j.value] = broadcast(0.0f); }); });
  const float* weights = task.scores + int64_t{q0} * kSegment;
  for (int32_t pos = seen.from; pos < seen.to;) {
    Unit unit;
    unit.open(unit_at(task, pos / kKvBlock), task.layout.head_dim);
    const int32_t block_end = (pos / kKvBlock + 1) * kKvBlock;
    const int32_t end = block_end < seen.to ? block_end : seen.to;
    for (; pos < end; ++pos) {
      F32x16 value[kD];
      unroll<kD>([&](auto j) {
        if constexpr (kAllLanes<Lanes>)
          value[j.value] = unit.value(pos % kKvBlock, d + 16 * j.value);
        else
          value[j.value] = unit.value_first(pos % kKvBlock, d, lanes);
      });
      unroll<kQ>([&](auto i) {
        const F32x16 weight = broadcast(weights[i.value * kSegment + pos]);
        unroll<kD>([&](auto j) {
          sum[i.value][j.value] = fma(weight, value[j.value], sum[i.value][j.value]);
        });
      });
    }
  }
  unroll<kQ>([&](auto i) {
    float* out = task.out + (q0 + i.value) * task.out_stride + d;
    unroll<kD>([&](auto j) {
      if constexpr (kAllLanes<Lanes>)
        store(out + 16 * j.value, sum[i.value][j.value]);
      else
        store_first(out, sum[i.value][j.value], lanes);
    });
  });
}

/// Dimensions from `d` on, 16 * kD at a time, the rest in halves, what is left in part of 16 lanes.
template <class Unit, int kQ, int kD>
[[gnu::always_inline]] inline void sum_values(const AttentionTask& task, int32_t q0, Seen seen,
                                              int32_t d) {
  const int32_t dims = task.layout.head_dim;
  for (; d + 16 * kD <= dims; d += 16 * kD)
    value_tile<Unit, kQ, kD>(task, q0, seen, d, Index<16>{});
  if constexpr (kD > 1) {
    sum_values<Unit, kQ, kD / 2>(task, q0, seen, d);
  } else if (d < dims) {
    value_tile<Unit, kQ, 1>(task, q0, seen, d, dims - d);
  }
}

/// Queries q0 .. q0 + kQ - 1, from scores to sums.
template <class Unit, int kQ>
void attend_tile(const AttentionTask& task, int32_t q0) {
  // Positions ascend, so the first query looks back farthest and the last one ahead.
  Seen seen = {seen_by(task, q0).from, seen_by(task, q0 + kQ - 1).to};
  if (seen.from > seen.to) seen.from = seen.to;
  const int32_t from = seen.from / kKvBlock, to = (seen.to + kKvBlock - 1) / kKvBlock;
  score_blocks<Unit, kQ, per_query(kQ)>(task, q0, from, to);
  for (int i = 0; i < kQ; ++i) softmax(task, q0 + i, from, to);
  sum_values<Unit, kQ, per_query(kQ)>(task, q0, seen, 0);
}

/// The last `left` <= kQ queries.
template <class Unit, int kQ>
[[gnu::always_inline]] inline void attend_rest(const AttentionTask& task, int32_t q0,
                                               int32_t left) {
  if (left == kQ) return attend_tile<Unit, kQ>(task, q0);
  if constexpr (kQ > 1) attend_rest<Unit, kQ - 1>(task, q0, left);
}

template <class Unit>
[[gnu::always_inline]] inline void attend_all(const AttentionTask& task) {
  int32_t q0 = 0;
  for (; task.queries - q0 > kTileQueries; q0 += kTileQueries)
    attend_tile<Unit, kTileQueries>(task, q0);
  attend_rest<Unit, kTileQueries>(task, q0, task.queries - q0);
}

void attend(const AttentionTask& task) {
  if (task.layout.format == KvFormat::f16)
    attend_all<F16Unit>(task);
  else
    attend_all<Int8Unit>(task);
}

void merge(float* m_a, float* l_a, float* out_a, float m_b, float l_b, const float* out_b,
           int32_t n) {
  const float top = *m_a > m_b ? *m_a : m_b;
  // Where neither saw anything both weights are exp(-infinity) = 0.
  const F32x16 shift = broadcast(top == kMinusInfinity ? 0.0f : top);
  const F32x16 a = exp(broadcast(*m_a) - shift), b = exp(broadcast(m_b) - shift);
  *m_a = top;
  store_first(l_a, fma(broadcast(l_b), b, broadcast(*l_a) * a), 1);
  for_lanes(n, [&](int32_t i, auto lanes) {
    store_some(out_a + i, fma(load_some(out_b + i, lanes), b, load_some(out_a + i, lanes) * a),
               lanes);
  });
}

void finish(const float* o, float l, int32_t n, float* out) {
  const F32x16 inverse = broadcast(1.0f) / broadcast(l);
  for_lanes(n, [&](int32_t i, auto lanes) {
    store_some(out + i, load_some(o + i, lanes) * inverse, lanes);
  });
}

}  // namespace
}  // namespace troupe::native
