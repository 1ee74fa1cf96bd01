// The float kernels: the scalar back end against plain double computations and against the numeric
// contract written out a second time, every other instruction set bit for bit against the scalar
// one.
#include "model/native/vector_kernels.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "model/dtype.h"
#include "model/exact_math.h"

using namespace troupe;
using namespace troupe::native;

namespace native_vector_test {
namespace {

constexpr unsigned kSeed = 20260;

std::vector<Isa> other_isas() {
  std::vector<Isa> out;
  for (Isa isa : {Isa::avx2, Isa::avx512, Isa::amx})
    if (can_run(isa)) out.push_back(isa);
  return out;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

/// Numbers of all magnitudes around `scale`, with zeros, denormals and repeated values among them.
std::vector<float> numbers(std::mt19937& random, size_t n, float scale = 1) {
  std::normal_distribution<float> normal;
  std::vector<float> out(n);
  for (float& x : out) {
    switch (random() % 16) {
      case 0:
        x = random() % 2 ? 0.0f : -0.0f;
        break;
      case 1:
        x = normal(random) * scale * 1e-39f;
        break;
      case 2:
        x = normal(random) * scale * 1e6f;
        break;
      default:
        x = normal(random) * scale;
    }
  }
  return out;
}

// -- the contract, literally
// -----------------------------------------------------------------------
float literal_hsum(const float (&lane)[16]) {
  float a[8], b[4];
  for (int i = 0; i < 8; ++i) a[i] = lane[i] + lane[i + 8];
  for (int i = 0; i < 4; ++i) b[i] = a[i] + a[i + 4];
  return (b[0] + b[2]) + (b[1] + b[3]);
}

std::vector<float> literal_rms_norm(std::span<const float> x, std::span<const float> w, float eps) {
  float lane[16] = {};
  for (size_t i = 0; i < x.size(); ++i) lane[i % 16] = std::fma(x[i], x[i], lane[i % 16]);
  const float r = 1.0f / std::sqrt(literal_hsum(lane) / static_cast<float>(x.size()) + eps);
  std::vector<float> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = (x[i] * r) * w[i];
  return y;
}

float literal_exp(float x) {
  if (x < -64) return 0;
  x = std::min(x, 88.0f);
  const float n = std::nearbyint(x * 1.44269504f);
  float r = std::fma(n, -0.693359375f, x);
  r = std::fma(n, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f;
  for (float c :
       {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
    p = std::fma(p, r, c);
  return std::ldexp(std::fma(p, r * r, r) + 1.0f, static_cast<int>(n));
}

/// A row of a tile of `rows` rows, as quantise() fills it.
struct Quantised {
  explicit Quantised(int32_t n, int32_t rows = 1)
      : groups((n + 31) / 32),
        q(static_cast<size_t>(groups * 32 * rows), 99),
        s(static_cast<size_t>(groups * rows), 99),
        p(s),
        minus8(s.size(), 99),
        minus128(minus8),
        minus128_of{minus8, minus8},
        view{.q = q.data(),
             .s = s.data(),
             .p = p.data(),
             .minus8 = minus8.data(),
             .minus128 = minus128.data(),
             .minus128_of = {minus128_of[0].data(), minus128_of[1].data()},
             .q_stride = 32 * rows,
             .stride = rows} {}
  int32_t groups;
  std::vector<int8_t> q;
  std::vector<float> s, p;
  std::vector<int32_t> minus8, minus128, minus128_of[2];
  QuantisedRow view;
  bool operator==(const Quantised& other) const {
    return q == other.q && minus8 == other.minus8 && minus128 == other.minus128 &&
           minus128_of[0] == other.minus128_of[0] && minus128_of[1] == other.minus128_of[1] &&
           same_bits(s, other.s) && same_bits(p, other.p);
  }
};

Quantised literal_quantise(std::span<const float> x, bool& finite) {
  Quantised out(static_cast<int32_t>(x.size()));
  for (int32_t g = 0; g < out.groups; ++g) {
    float group[32] = {}, amax = 0;
    for (int i = 0; i < 32; ++i) {
      const size_t k = static_cast<size_t>(g) * 32 + static_cast<size_t>(i);
      if (k < x.size()) group[i] = x[k];
      if (!std::isfinite(group[i])) finite = false;
      amax = std::max(amax, std::abs(group[i]));
    }
    const bool tiny = amax < 0x1p-64f;
    const float id = 127.0f / amax;
    int32_t sum = 0, halves[2] = {0, 0};
    for (int i = 0; i < 32; ++i) {
      const int q = tiny ? 0 : static_cast<int>(std::nearbyint(group[i] * id));
      out.q[static_cast<size_t>(g * 32 + i)] = static_cast<int8_t>(q);
      sum += q;
      halves[i / 16] += q;
    }
    out.s[static_cast<size_t>(g)] = tiny ? 0 : amax / 127.0f;
    out.p[static_cast<size_t>(g)] = out.s[static_cast<size_t>(g)] * static_cast<float>(sum);
    out.minus8[static_cast<size_t>(g)] = -8 * sum;
    out.minus128[static_cast<size_t>(g)] = -128 * sum;
    for (int half = 0; half < 2; ++half)
      out.minus128_of[half][static_cast<size_t>(g)] = -128 * halves[half];
  }
  return out;
}

const VectorKernels& scalar() { return vector_kernels_for(Isa::scalar); }

const std::vector<int32_t> kLengths = {1,  2,  3,  8,  15, 16,  17,  20,  31,  32,  33,
                                       47, 48, 63, 64, 80, 127, 255, 576, 577, 1000};

}  // namespace

TEST_CASE("native vector: RMSNorm equals the contract bit for bit and a double norm closely") {
  std::mt19937 random(kSeed);
  CAPTURE(kSeed);
  for (int32_t n : kLengths) {
    CAPTURE(n);
    const auto x = numbers(random, static_cast<size_t>(n)),
               w = numbers(random, static_cast<size_t>(n));
    const auto expected = literal_rms_norm(x, w, 1e-5f);
    std::vector<float> y(x.size());
    scalar().rms_norm(x.data(), w.data(), n, 1e-5f, y.data());
    CHECK(same_bits(y, expected));
    double squares = 0;
    for (float v : x) squares += static_cast<double>(v) * v;
    const double r = 1 / std::sqrt(squares / n + 1e-5);
    for (size_t i = 0; i < x.size(); ++i)
      REQUIRE(y[i] == doctest::Approx(x[i] * r * w[i]).epsilon(1e-5));
    for (Isa isa : other_isas()) {
      CAPTURE(name_of(isa));
      auto in_place = x;
      vector_kernels_for(isa).rms_norm(in_place.data(), w.data(), n, 1e-5f, in_place.data());
      CHECK(same_bits(in_place, expected));
    }
  }
}

TEST_CASE("native vector: quantisation equals the contract on every instruction set") {
  std::mt19937 random(kSeed + 1);
  CAPTURE(kSeed);
  for (int32_t n : kLengths) {
    for (float scale : {1.0f, 1e-19f, 1e-25f, 1e30f, 0.0f}) {
      CAPTURE(n);
      CAPTURE(scale);
      auto x = numbers(random, static_cast<size_t>(n), scale);
      if (n > 40) std::fill(x.begin() + 32, x.begin() + 40, -127.5f * scale);
      bool finite = true;
      const Quantised expected = literal_quantise(x, finite);
      REQUIRE(finite);
      for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
        if (!can_run(isa)) continue;
        CAPTURE(name_of(isa));
        Quantised got(n);
        CHECK(vector_kernels_for(isa).quantise(x.data(), n, got.view));
        CHECK(got == expected);
      }
      for (int32_t g = 0; g < expected.groups; ++g)
        for (int32_t k = 32 * g; k < std::min(n, 32 * g + 32); ++k) {
          const float s = expected.s[static_cast<size_t>(g)];
          const float back = s * expected.q[static_cast<size_t>(k)];
          REQUIRE(std::abs(back - x[static_cast<size_t>(k)]) <= std::max(0.5001f * s, 0x1p-64f));
        }
    }
  }
}

TEST_CASE("native vector: what quantising leaves is exact, and a second term takes nearly all") {
  std::mt19937 random(kSeed + 9);
  CAPTURE(kSeed);
  for (int32_t n : kLengths) {
    CAPTURE(n);
    const auto x = numbers(random, static_cast<size_t>(n));
    bool finite = true;
    const Quantised first = literal_quantise(x, finite);
    std::vector<float> expected(x);
    for (size_t k = 0; k < x.size(); ++k)
      expected[k] = std::fma(-first.s[k / 32], static_cast<float>(first.q[k]), x[k]);
    const Quantised second = literal_quantise(expected, finite);
    REQUIRE(finite);
    for (size_t k = 0; k < x.size(); ++k) {
      const double s = first.s[k / 32];
      const double back = s * first.q[k] + static_cast<double>(second.s[k / 32]) * second.q[k];
      REQUIRE(std::abs(back - x[k]) <= s / 500);  // half a step of 1/254 of s, and rounding
    }
    for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
      if (!can_run(isa)) continue;
      CAPTURE(name_of(isa));
      constexpr int32_t rows = 3;
      Quantised tile(n, rows);
      QuantisedRow view = tile.view;
      view.q += 32;
      view.s += 1;
      for (int32_t g = 0; g < first.groups; ++g) {
        view.s[g * rows] = first.s[static_cast<size_t>(g)];
        std::copy_n(first.q.begin() + 32 * g, 32, view.q + g * view.q_stride);
      }
      std::vector<float> left(x);
      vector_kernels_for(isa).keep_rest(left.data(), n, view);
      CHECK(same_bits(left, expected));
    }
  }
}

TEST_CASE("native vector: a row of a tile is written at its strides and nowhere else") {
  std::mt19937 random(kSeed + 2);
  CAPTURE(kSeed);
  constexpr int32_t n = 100, rows = 3, row = 1;
  const auto x = numbers(random, n);
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (!can_run(isa)) continue;
    Quantised alone(n), tile(n, rows);
    QuantisedRow view = tile.view;
    view.q += 32 * row;
    view.s += row;
    view.p += row;
    view.minus8 += row;
    view.minus128 += row;
    for (int32_t*& sums : view.minus128_of) sums += row;
    REQUIRE(vector_kernels_for(isa).quantise(x.data(), n, alone.view));
    REQUIRE(vector_kernels_for(isa).quantise(x.data(), n, view));
    for (int32_t g = 0; g < alone.groups; ++g)
      for (int32_t r = 0; r < rows; ++r) {
        const auto at = static_cast<size_t>(g * rows + r);
        CHECK(tile.s[at] == (r == row ? alone.s[static_cast<size_t>(g)] : 99));
        CHECK(tile.p[at] == (r == row ? alone.p[static_cast<size_t>(g)] : 99));
        CHECK(tile.minus8[at] == (r == row ? alone.minus8[static_cast<size_t>(g)] : 99));
        CHECK(tile.minus128[at] == (r == row ? alone.minus128[static_cast<size_t>(g)] : 99));
        for (int half = 0; half < 2; ++half)
          CHECK(tile.minus128_of[half][at] ==
                (r == row ? alone.minus128_of[half][static_cast<size_t>(g)] : 99));
        for (size_t k = 0; k < 32; ++k)
          CHECK(tile.q[at * 32 + k] == (r == row ? alone.q[static_cast<size_t>(g) * 32 + k] : 99));
      }
  }
}

TEST_CASE("native vector: a value that is not finite is seen wherever it stands") {
  const float infinity = std::numeric_limits<float>::infinity();
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (!can_run(isa)) continue;
    const VectorKernels& kernels = vector_kernels_for(isa);
    for (float bad : {infinity, -infinity, std::nanf("")}) {
      for (size_t at = 0; at < 75; ++at) {
        std::vector<float> x(75, -3);
        x[at] = bad;
        Quantised out(75);
        CHECK_FALSE(kernels.quantise(x.data(), 75, out.view));
        bool finite = true;
        kernels.argmax(x.data(), 75, &finite);
        CHECK_FALSE(finite);
      }
    }
    std::vector<float> largest(75, std::numeric_limits<float>::max());
    Quantised out(75);
    CHECK(kernels.quantise(largest.data(), 75, out.view));
    bool finite = true, faulty = false;
    kernels.argmax(largest.data(), 75, &finite);
    kernels.argmax(largest.data(), 75, &faulty);
    CHECK(finite);
    CHECK_FALSE(faulty);
  }
}

TEST_CASE("native vector: add, rotate and finish round each operation alone") {
  std::mt19937 random(kSeed + 3);
  CAPTURE(kSeed);
  for (int32_t n : kLengths) {
    CAPTURE(n);
    const auto size = static_cast<size_t>(n);
    const auto x = numbers(random, 2 * size), y = numbers(random, 2 * size);
    const auto c = numbers(random, size), s = numbers(random, size);
    for (float scale : {1.0f, 0.125f, 0.10206207f}) {
      std::vector<float> added(2 * size), rotated(2 * size), finished(2 * size);
      for (size_t i = 0; i < 2 * size; ++i) {
        added[i] = x[i] + y[i];
        finished[i] = x[i] * (1.0f / scale);
      }
      for (size_t i = 0; i < size; ++i) {
        const float bs = x[i + size] * s[i], as = x[i] * s[i];
        rotated[i] = std::fma(x[i], c[i], -bs) * scale;
        rotated[i + size] = std::fma(x[i + size], c[i], as) * scale;
      }
      for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
        if (!can_run(isa)) continue;
        CAPTURE(name_of(isa));
        const VectorKernels& kernels = vector_kernels_for(isa);
        auto z = x;
        kernels.add(z.data(), y.data(), 2 * n);
        CHECK(same_bits(z, added));
        z = x;
        kernels.rotate(z.data(), 2 * n, c.data(), s.data(), scale);
        CHECK(same_bits(z, rotated));
        kernels.finish(x.data(), scale, 2 * n, z.data());
        CHECK(same_bits(z, finished));
      }
    }
  }
}

TEST_CASE("native vector: SwiGLU equals the contract, and a double one within 1e-6") {
  std::mt19937 random(kSeed + 4);
  CAPTURE(kSeed);
  for (int32_t n : kLengths) {
    CAPTURE(n);
    auto gate = numbers(random, static_cast<size_t>(n), 10);
    const auto up = numbers(random, static_cast<size_t>(n));
    for (size_t i = 0; i < gate.size() && i < 8; ++i)
      gate[i] = std::array{64.0f, -64.0f, 64.01f, -88.0f, -100.0f, 100.0f, 0.0f, -0.0f}[i];
    std::vector<float> expected(gate.size()), got(gate.size());
    for (size_t i = 0; i < gate.size(); ++i) {
      expected[i] = gate[i] / (1.0f + literal_exp(-gate[i])) * up[i];
      const double truth = gate[i] / (1 + std::exp(-static_cast<double>(gate[i]))) * up[i];
      // exp is cut at 88, so a far negative gate keeps 6e-39 of itself.
      REQUIRE(std::abs(expected[i] - truth) <=
              1e-6 * std::abs(truth) + 1e-38 * std::abs(static_cast<double>(gate[i]) * up[i]) +
                  3e-45);
    }
    for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
      if (!can_run(isa)) continue;
      CAPTURE(name_of(isa));
      vector_kernels_for(isa).silu_mul(gate.data(), up.data(), n, got.data());
      CHECK(same_bits(got, expected));
    }
  }
}

TEST_CASE("native vector: the largest is found wherever it stands, ties to the lowest index") {
  std::mt19937 random(kSeed + 5);
  CAPTURE(kSeed);
  for (int round = 0; round < 300; ++round) {
    const size_t n = 1 + random() % 200;
    std::vector<float> z(n);
    // Few different values, often all negative: ties and padding lanes would show.
    for (float& x : z)
      x = static_cast<float>(static_cast<int>(random() % 6)) - (round % 2 ? 100.0f : 3.0f);
    if (round % 5 == 0) std::fill(z.begin(), z.end(), round % 2 ? -0.0f : -7.0f);
    if (round % 7 == 0) z[random() % n] = 0.0f;
    const auto expected = std::max_element(z.begin(), z.end()) - z.begin();
    for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
      if (!can_run(isa)) continue;
      bool finite = true;
      CHECK(vector_kernels_for(isa).argmax(z.data(), static_cast<int32_t>(n), &finite) == expected);
      CHECK(finite);
    }
  }
}

TEST_CASE("native vector: block sums and scaled exps equal the contract on every instruction set") {
  std::mt19937 random(kSeed + 6);
  CAPTURE(kSeed);
  std::normal_distribution<float> normal(-5, 20);
  for (int32_t n = 1; n <= 256; n += n < 40 ? 1 : 27) {
    CAPTURE(n);
    std::vector<float> z(static_cast<size_t>(n)), scaled(z.size()), got(z.size());
    for (float& x : z) x = normal(random);
    const float max = *std::max_element(z.begin(), z.end());
    float lane[16] = {};
    for (size_t i = 0; i < z.size(); ++i) {
      lane[i % 16] += literal_exp(z[i] - max);
      scaled[i] = literal_exp((z[i] - max) * 0.8f);
    }
    const float expected = literal_hsum(lane);
    for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
      if (!can_run(isa)) continue;
      CAPTURE(name_of(isa));
      const VectorKernels& kernels = vector_kernels_for(isa);
      float top = 0, sum = 0;
      CHECK(kernels.block_sum(z.data(), n, &top, &sum));
      CHECK(top == max);
      CHECK(same_bits({&sum, 1}, {&expected, 1}));
      kernels.exp_scaled(z.data(), n, max, 0.8f, got.data());
      CHECK(same_bits(got, scaled));
      auto bad = z;
      bad[random() % bad.size()] = random() % 2 ? std::nanf("") : -INFINITY;
      CHECK_FALSE(kernels.block_sum(bad.data(), n, &top, &sum));
    }
  }
}

TEST_CASE("native vector: the values of a band are found, its lower edge among them") {
  std::mt19937 random(kSeed + 7);
  CAPTURE(kSeed);
  for (int round = 0; round < 200; ++round) {
    std::vector<float> z(1 + random() % 100);
    for (float& x : z) x = static_cast<float>(random() % 12);
    const auto low = static_cast<float>(random() % 12),
               high = low + static_cast<float>(random() % 4);
    std::vector<int32_t> expected;
    for (size_t i = 0; i < z.size(); ++i)
      if (low <= z[i] && z[i] < high) expected.push_back(static_cast<int32_t>(i));
    for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
      if (!can_run(isa)) continue;
      std::vector<int32_t> got(z.size());
      const int32_t n = static_cast<int32_t>(z.size());
      got.resize(
          static_cast<size_t>(vector_kernels_for(isa).between(z.data(), n, low, high, got.data())));
      CHECK(got == expected);
    }
  }
}

}  // namespace native_vector_test
