// Attention over paged KV: against a double computation, against N12 of docs/performance.md written
// out a second time (bit for bit, on every instruction set), and against itself under any split of
// the queries and any content of positions that no query sees.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "model/dtype.h"
#include "model/exact_math.h"
#include "model/native/vector_kernels.h"

using namespace troupe;
using namespace troupe::native;

namespace native_attention_test {
namespace {

constexpr unsigned kSeed = 777;
constexpr float kNothing = -std::numeric_limits<float>::infinity();

std::vector<Isa> isas() {
  std::vector<Isa> out;
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512})
    if (can_run(isa)) out.push_back(isa);
  return out;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

std::vector<float> normal_numbers(std::mt19937& random, size_t n, float scale) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> out(n);
  for (float& x : out) x = normal(random);
  return out;
}

/// One layer of KV for one sequence of `positions`, in blocks scattered over the pool. What isn't
/// written holds `filler` as float16 or bytes.
struct Pool {
  KvLayout layout;
  std::vector<int32_t> table;
  std::vector<unsigned char> bytes;
  std::vector<float> k, v;  ///< [position][kv head][dim], as given

  Pool(std::mt19937& random, KvFormat format, int32_t head_dim, int32_t kv_heads, int32_t positions)
      : layout{format, head_dim, kv_heads, positions / kKvBlock + 5} {
    table.resize(static_cast<size_t>(layout.blocks));
    std::iota(table.begin(), table.end(), 0);
    std::shuffle(table.begin(), table.end(), random);
    const size_t n = static_cast<size_t>(positions) * static_cast<size_t>(kv_heads * head_dim);
    k = normal_numbers(random, n, 1);
    v = normal_numbers(random, n, 1);
    bytes.resize(static_cast<size_t>(layout.bytes()));
  }
  int32_t positions() const {
    return static_cast<int32_t>(k.size()) / (layout.kv_heads * layout.head_dim);
  }
  size_t at(int32_t position, int32_t kv_head) const {
    return static_cast<size_t>((position * layout.kv_heads + kv_head) * layout.head_dim);
  }
  unsigned char* unit(int32_t position, int32_t kv_head) {
    return bytes.data() + layout.unit(table[static_cast<size_t>(position / kKvBlock)], kv_head);
  }
  void write(const VectorKernels& kernels, int32_t from, int32_t to) {
    for (int32_t pos = from; pos < to; ++pos)
      for (int32_t h = 0; h < layout.kv_heads; ++h)
        kernels.write_kv(layout, unit(pos, h), pos % kKvBlock, &k[at(pos, h)], &v[at(pos, h)]);
  }
  /// The number a reader gets, from the layout's description.
  float stored(int32_t position, int32_t kv_head, int32_t d, bool value) {
    const int32_t dims = layout.head_dim, offset = position % kKvBlock;
    const int32_t index = value ? (kKvBlock + offset) * dims + d : d * kKvBlock + offset;
    const unsigned char* base = unit(position, kv_head);
    if (layout.format == KvFormat::f16) {
      uint16_t half;
      std::memcpy(&half, base + 2 * index, 2);
      return f16_to_f32(half);
    }
    float scale;
    std::memcpy(&scale, base + 2 * kKvBlock * dims + 4 * ((value ? kKvBlock : 0) + offset), 4);
    return static_cast<float>(static_cast<int8_t>(base[index])) * scale;
  }
};

struct Partial {
  float m = kNothing, l = 0;
  std::vector<float> o;
};

float literal_hsum(const float (&lane)[16]) {
  float a[8], b[4];
  for (int i = 0; i < 8; ++i) a[i] = lane[i] + lane[i + 8];
  for (int i = 0; i < 4; ++i) b[i] = a[i] + a[i + 4];
  return (b[0] + b[2]) + (b[1] + b[3]);
}

/// N12 for one query and one segment, over what it sees and nothing else.
Partial literal_segment(Pool& pool, int32_t kv_head, std::span<const float> q, int32_t p,
                        int32_t window, int32_t segment) {
  const int32_t dims = pool.layout.head_dim, start = segment * kSegment;
  const int32_t from = std::max(start, window > 0 ? p - window + 1 : 0);
  const int32_t to = std::min(p + 1, start + kSegment);
  Partial out;
  out.o.assign(static_cast<size_t>(dims), 0.0f);
  std::vector<float> scores;
  for (int32_t pos = from; pos < to; ++pos) {
    float score = 0;
    for (int32_t d = 0; d < dims; ++d)
      score = std::fma(q[static_cast<size_t>(d)], pool.stored(pos, kv_head, d, false), score);
    scores.push_back(score);
    out.m = std::max(out.m, score);
  }
  float lane[16] = {};
  for (int32_t pos = from; pos < to; ++pos) {
    const float e = exact_exp(scores[static_cast<size_t>(pos - from)] - out.m);
    lane[pos % 16] += e;
    for (int32_t d = 0; d < dims; ++d) {
      float& o = out.o[static_cast<size_t>(d)];
      o = std::fma(e, pool.stored(pos, kv_head, d, true), o);
    }
  }
  out.l = literal_hsum(lane);
  return out;
}

Partial literal_merge(const Partial& a, const Partial& b) {
  if (a.m == kNothing) return b;
  if (b.m == kNothing) return a;
  Partial out;
  out.m = std::max(a.m, b.m);
  const float wa = exact_exp(a.m - out.m), wb = exact_exp(b.m - out.m);
  out.l = std::fma(b.l, wb, a.l * wa);
  for (size_t d = 0; d < a.o.size(); ++d) out.o.push_back(std::fma(b.o[d], wb, a.o[d] * wa));
  return out;
}

std::vector<double> true_attention(Pool& pool, int32_t kv_head, std::span<const float> q, int32_t p,
                                   int32_t window) {
  const int32_t from = window > 0 ? std::max(0, p - window + 1) : 0, dims = pool.layout.head_dim;
  std::vector<double> weight;
  double largest = kNothing, total = 0;
  for (int32_t pos = from; pos <= p; ++pos) {
    double score = 0;
    for (int32_t d = 0; d < dims; ++d)
      score += static_cast<double>(q[static_cast<size_t>(d)]) * pool.stored(pos, kv_head, d, false);
    weight.push_back(score);
    largest = std::max(largest, score);
  }
  std::vector<double> out(static_cast<size_t>(dims));
  for (int32_t pos = from; pos <= p; ++pos) {
    const double e = std::exp(weight[static_cast<size_t>(pos - from)] - largest);
    total += e;
    for (int32_t d = 0; d < dims; ++d)
      out[static_cast<size_t>(d)] += e * pool.stored(pos, kv_head, d, true);
  }
  for (double& x : out) x /= total;
  return out;
}

/// The queries of one attention, [query][head_dim].
struct Queries {
  std::vector<float> q;
  std::vector<int32_t> position;
  std::span<const float> at(size_t i, int32_t dims) const {
    return std::span(q).subspan(i * static_cast<size_t>(dims), static_cast<size_t>(dims));
  }
};

/// One segment for queries [first, first + count), into `out`.
void run_task(const VectorKernels& kernels, const Pool& pool, const Queries& queries,
              int32_t kv_head, int32_t window, int32_t segment, size_t first, size_t count,
              std::vector<Partial>& out) {
  const int32_t dims = pool.layout.head_dim;
  std::vector<int32_t> offsets;
  for (size_t i = 0; i < count; ++i)
    offsets.push_back(static_cast<int32_t>((first + i) * static_cast<size_t>(dims)));
  std::vector<float> scores(count * kSegment, 1e30f), m(count, 5), l(count, 5);
  constexpr float kGuard = 12345;
  const auto stride = static_cast<size_t>(dims) + 3;
  std::vector<float> o(count * stride, kGuard);
  AttentionTask task{.layout = pool.layout,
                     .layer = pool.bytes.data(),
                     .table = pool.table.data(),
                     .kv_head = kv_head,
                     .segment = segment,
                     .window = window,
                     .queries = static_cast<int32_t>(count),
                     .q = queries.q.data(),
                     .q_offset = offsets.data(),
                     .position = queries.position.data() + first,
                     .scores = scores.data(),
                     .m = m.data(),
                     .l = l.data(),
                     .out = o.data(),
                     .out_stride = static_cast<int64_t>(stride)};
  kernels.attend(task);
  for (size_t i = 0; i < count; ++i) {
    const float* row = &o[i * stride];
    for (size_t guard = static_cast<size_t>(dims); guard < stride; ++guard)
      REQUIRE(row[guard] == kGuard);
    out[first + i] = {m[i], l[i], {row, row + dims}};
  }
}

/// All segments, merged and finished: [query][head_dim].
std::vector<float> attend_all(const VectorKernels& kernels, const Pool& pool,
                              const Queries& queries, int32_t kv_head, int32_t window,
                              std::mt19937& random) {
  const int32_t dims = pool.layout.head_dim;
  const size_t n = queries.position.size();
  std::vector<float> result;
  std::vector<Partial> sum(n);
  for (int32_t segment = 0; segment * kSegment <= queries.position.back(); ++segment) {
    std::vector<Partial> part(n);
    // Queries before the segment aren't given to it; the others are cut into tasks at random.
    size_t first = 0;
    while (queries.position[first] < segment * kSegment) ++first;
    for (size_t i = first; i < n;) {
      const size_t count = std::min(n - i, 1 + random() % 20);
      run_task(kernels, pool, queries, kv_head, window, segment, i, count, part);
      i += count;
    }
    for (size_t i = first; i < n; ++i) {
      if (segment == 0) {
        sum[i] = part[i];
        continue;
      }
      kernels.merge(&sum[i].m, &sum[i].l, sum[i].o.data(), part[i].m, part[i].l, part[i].o.data(),
                    dims);
    }
  }
  for (const Partial& s : sum) {
    std::vector<float> row(static_cast<size_t>(dims));
    kernels.finish(s.o.data(), s.l, dims, row.data());
    result.insert(result.end(), row.begin(), row.end());
  }
  return result;
}

Queries random_queries(std::mt19937& random, int32_t dims, int32_t group, int32_t from,
                       int32_t to) {
  Queries out;
  for (int32_t p = from; p < to; ++p)
    for (int32_t g = 0; g < group; ++g) out.position.push_back(p);
  out.q = normal_numbers(random, out.position.size() * static_cast<size_t>(dims),
                         2 / std::sqrt(static_cast<float>(dims)));
  return out;
}

}  // namespace

TEST_CASE("native attention: KV is written as the layout says, and reads back as rounded") {
  std::mt19937 random(kSeed);
  CAPTURE(kSeed);
  for (KvFormat format : {KvFormat::f16, KvFormat::int8}) {
    for (int32_t dims : {2, 8, 16, 20, 64, 80, 96, 128}) {
      CAPTURE(dims);
      Pool pool(random, format, dims, 2, 37);
      pool.k[3] = 70000;   // beyond float16: cut at its largest
      pool.v[5] = -1e30f;  // likewise
      std::fill_n(pool.v.begin() + static_cast<ptrdiff_t>(pool.at(7, 1)), dims, 1e-9f);
      std::vector<std::vector<unsigned char>> images;
      for (Isa isa : isas()) {
        std::fill(pool.bytes.begin(), pool.bytes.end(), static_cast<unsigned char>(0xa5));
        pool.write(vector_kernels_for(isa), 0, 37);
        images.push_back(pool.bytes);
        CHECK(images.front() == images.back());
      }
      for (int32_t pos = 0; pos < 37; ++pos)
        for (int32_t h = 0; h < 2; ++h)
          for (bool value : {false, true}) {
            const float* given = &(value ? pool.v : pool.k)[pool.at(pos, h)];
            float amax = 0;
            for (int32_t d = 0; d < dims; ++d) amax = std::max(amax, std::abs(given[d]));
            for (int32_t d = 0; d < dims; ++d) {
              const float read = pool.stored(pos, h, d, value);
              if (format == KvFormat::f16) {
                REQUIRE(read == f16_to_f32(f32_to_f16(std::clamp(given[d], -65504.0f, 65504.0f))));
              } else if (amax < 0x1p-24f) {
                REQUIRE(read == 0);
              } else {
                REQUIRE(read == std::nearbyint(given[d] * (127.0f / amax)) * (amax / 127.0f));
              }
            }
          }
    }
  }
}

TEST_CASE("native attention: a key that is not finite shows in what reads it") {
  std::mt19937 random(kSeed + 1);
  for (KvFormat format : {KvFormat::f16, KvFormat::int8}) {
    for (Isa isa : isas()) {
      Pool pool(random, format, 16, 1, 20);
      pool.k[pool.at(4, 0) + 3] = std::nanf("");
      pool.write(vector_kernels_for(isa), 0, 20);
      const Queries queries = random_queries(random, 16, 1, 3, 20);
      const auto out = attend_all(vector_kernels_for(isa), pool, queries, 0, 0, random);
      CHECK(std::isfinite(out[0]));  // position 3 doesn't see it
      CHECK_FALSE(std::isfinite(out[16]));
    }
  }
}

TEST_CASE("native attention: one segment equals the contract bit for bit, however tasks are cut") {
  std::mt19937 random(kSeed + 2);
  CAPTURE(kSeed);
  for (int round = 0; round < 60; ++round) {
    const auto format = round % 2 ? KvFormat::int8 : KvFormat::f16;
    const int32_t dims = std::vector{2, 8, 16, 20, 34, 64, 80, 96, 128}[random() % 9];
    const int32_t group = std::vector{1, 2, 3, 4, 7, 8, 9}[random() % 7];
    const int32_t to = 1 + static_cast<int32_t>(random() % 300);
    const int32_t from = std::max(0, to - 1 - static_cast<int32_t>(random() % 12));
    const int32_t window =
        random() % 3 ? 0 : 1 + static_cast<int32_t>(random() % static_cast<unsigned>(to));
    CAPTURE(dims);
    CAPTURE(group);
    CAPTURE(from);
    CAPTURE(to);
    CAPTURE(window);
    Pool pool(random, format, dims, 2, to);
    pool.write(vector_kernels_for(Isa::scalar), 0, to);
    const Queries queries = random_queries(random, dims, group, from, to);
    const size_t n = queries.position.size();
    for (int32_t segment = 0; segment * kSegment <= from; ++segment) {
      std::vector<Partial> expected;
      for (size_t i = 0; i < n; ++i)
        expected.push_back(
            literal_segment(pool, 1, queries.at(i, dims), queries.position[i], window, segment));
      for (Isa isa : isas()) {
        CAPTURE(name_of(isa));
        std::vector<Partial> got(n);
        for (size_t i = 0; i < n;) {
          const size_t count = std::min(n - i, 1 + random() % 30);
          run_task(vector_kernels_for(isa), pool, queries, 1, window, segment, i, count, got);
          i += count;
        }
        for (size_t i = 0; i < n; ++i) {
          REQUIRE(got[i].m == expected[i].m);
          REQUIRE(same_bits({&got[i].l, 1}, {&expected[i].l, 1}));
          REQUIRE(same_bits(got[i].o, expected[i].o));
        }
      }
    }
  }
}

TEST_CASE("native attention: segments merge to the contract's bits and to the true softmax") {
  std::mt19937 random(kSeed + 3);
  CAPTURE(kSeed);
  for (int32_t window : {0, 100, 300}) {
    for (KvFormat format : {KvFormat::f16, KvFormat::int8}) {
      const int32_t dims = 20, to = 700;
      CAPTURE(window);
      Pool pool(random, format, dims, 3, to);
      pool.write(vector_kernels_for(Isa::scalar), 0, to);
      const Queries queries = random_queries(random, dims, 3, to - 4, to);
      std::vector<float> expected;
      for (size_t i = 0; i < queries.position.size(); ++i) {
        const int32_t p = queries.position[i];
        Partial sum = literal_segment(pool, 2, queries.at(i, dims), p, window, 0);
        for (int32_t segment = 1; segment * kSegment <= p; ++segment)
          sum =
              literal_merge(sum, literal_segment(pool, 2, queries.at(i, dims), p, window, segment));
        const auto truth = true_attention(pool, 2, queries.at(i, dims), p, window);
        for (size_t d = 0; d < sum.o.size(); ++d) {
          expected.push_back(sum.o[d] * (1.0f / sum.l));
          REQUIRE(std::abs(expected.back() - truth[d]) <= 2e-6);
        }
      }
      for (Isa isa : isas()) {
        CAPTURE(name_of(isa));
        CHECK(same_bits(attend_all(vector_kernels_for(isa), pool, queries, 2, window, random),
                        expected));
      }
    }
  }
}

TEST_CASE("native attention: what positions beyond the queries hold changes nothing") {
  std::mt19937 random(kSeed + 4);
  CAPTURE(kSeed);
  for (KvFormat format : {KvFormat::f16, KvFormat::int8}) {
    for (int32_t to : {1, 7, 16, 33, 200, 260}) {
      for (Isa isa : isas()) {
        const VectorKernels& kernels = vector_kernels_for(isa);
        Pool pool(random, format, 64, 1, 300);
        pool.write(kernels, 0, to);
        const Queries queries = random_queries(random, 64, 3, std::max(0, to - 6), to);
        const auto fresh = attend_all(kernels, pool, queries, 0, 0, random);
        pool.write(kernels, to, 300);
        CHECK(same_bits(attend_all(kernels, pool, queries, 0, 0, random), fresh));
        for (float& x : pool.v) x = -65504;
        for (float& x : pool.k) x = 65504;
        pool.write(kernels, to, 300);
        CHECK(same_bits(attend_all(kernels, pool, queries, 0, 0, random), fresh));
      }
    }
  }
}

TEST_CASE("native attention: an empty segment merges without a trace, on either side") {
  for (Isa isa : isas()) {
    const VectorKernels& kernels = vector_kernels_for(isa);
    const std::vector<float> zeros(20, 0.0f),
        o = {1, -2, 3, 4, 5, 6, 7, 8, 9, 1e-30f, 1, 2, -3, 4, -5, 6, 7, 8, 0.f, 1e30f};
    float m = kNothing, l = 0;
    auto sum = zeros;
    kernels.merge(&m, &l, sum.data(), kNothing, 0, zeros.data(), 20);
    CHECK(m == kNothing);
    CHECK(l == 0);
    CHECK(same_bits(sum, zeros));
    kernels.merge(&m, &l, sum.data(), -7.5f, 3.25f, o.data(), 20);
    CHECK(m == -7.5f);
    CHECK(l == 3.25f);
    CHECK(same_bits(sum, o));
    kernels.merge(&m, &l, sum.data(), kNothing, 0, zeros.data(), 20);
    CHECK(m == -7.5f);
    CHECK(l == 3.25f);
    CHECK(same_bits(sum, o));
  }
}

}  // namespace native_attention_test
