// The scalar kernel against sums made from the file's own blocks, and every other kernel against
// the scalar one, bit for bit.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "model/native/matmul.h"
#include "tests/unit/native_rows.h"

namespace troupe::test {

/// The AMX kernel over emulated tiles; needs AVX-512.
void matmul_emulated_tiles(const native::PackedMatrix& w, int32_t first, int32_t count,
                           const native::ActivationTile& x, float* out, int64_t out_stride);

}  // namespace troupe::test

using namespace troupe;
using namespace troupe::native;

namespace native_matmul_test {
namespace {

constexpr Isa kIsas[] = {Isa::scalar, Isa::avx2, Isa::avx512, Isa::amx};

/// Random quantised activations (N6 of docs/performance.md) with their memory.
class Activations {
 public:
  Activations(int32_t rows, int32_t groups)
      : tile_{.rows = rows, .groups = groups},
        q_(count(32)),
        sums_(count(4)),
        s_(count(1)),
        p_(count(1)),
        x_(count(32)) {
    tile_.q = q_.data();
    tile_.s = s_.data();
    tile_.p = p_.data();
    tile_.minus8 = sums_.data();
    tile_.minus128 = sums_.data() + count(1);
    for (size_t half = 0; half < 2; ++half)
      tile_.minus128_of[half] = sums_.data() + count(2 + half);
    tile_.x = x_.data();
    tile_.x_stride = int64_t{32} * groups;
  }

  /// Any q and any scale; floats between -2 and 2, zero from input `cols` on.
  void randomise(std::mt19937& rng, int32_t cols) {
    for (size_t i = 0; i < q_.size(); ++i) q_[i] = static_cast<int8_t>(rng() % 255 - 127);
    std::uniform_real_distribution<float> number(-2, 2);
    for (size_t i = 0; i < s_.size(); ++i)
      s_[i] =
          rng() % 16 == 0 ? 0 : std::ldexp(1 + number(rng) / 3, static_cast<int>(rng() % 20) - 16);
    for (size_t i = 0; i < x_.size(); ++i)
      x_[i] = static_cast<int32_t>(i % (size_t{32} * groups())) < cols ? number(rng) : 0;
    sum_up();
  }

  /// Largest activations of one sign.
  void saturate(int8_t value) {
    for (size_t i = 0; i < q_.size(); ++i) q_[i] = value;
    for (size_t i = 0; i < s_.size(); ++i) s_[i] = 0.01f;
    for (size_t i = 0; i < x_.size(); ++i) x_[i] = static_cast<float>(value);
    sum_up();
  }

  const ActivationTile& tile() const { return tile_; }

 private:
  size_t groups() const { return static_cast<size_t>(tile_.groups); }
  size_t count(size_t each) const { return static_cast<size_t>(tile_.rows) * groups() * each; }

  void sum_up() {
    for (size_t i = 0; i < count(1); ++i) {
      int32_t halves[2] = {0, 0};
      for (size_t k = 0; k < 32; ++k) halves[k / 16] += q_[32 * i + k];
      p_[i] = s_[i] * static_cast<float>(halves[0] + halves[1]);
      tile_.minus8[i] = -8 * (halves[0] + halves[1]);
      tile_.minus128[i] = -128 * (halves[0] + halves[1]);
      for (size_t half = 0; half < 2; ++half) tile_.minus128_of[half][i] = -128 * halves[half];
    }
  }

  ActivationTile tile_;
  test::Lines<int8_t> q_;
  test::Lines<int32_t> sums_;
  test::Lines<float> s_, p_, x_;
};

/// Out of the kernel, [row][16 * count]. What lies beyond is checked to be untouched.
std::vector<float> product(MatmulFn matmul, const PackedMatrix& w, int32_t first, int32_t count,
                           const ActivationTile& x) {
  constexpr float kUntouched = 12345;
  const int64_t stride = 16 * (int64_t{count} + 1);
  test::Lines<float> out(static_cast<size_t>(stride * x.rows));
  for (size_t i = 0; i < out.size(); ++i) out[i] = kUntouched;
  matmul(w, first, count, x, out.data(), stride);
  std::vector<float> result;
  for (int64_t i = 0; i < stride * x.rows; ++i) {
    const float value = out[static_cast<size_t>(i)];
    if (i % stride < 16 * count)
      result.push_back(value);
    else if (value != kUntouched)
      FAIL_CHECK("the kernel wrote beyond its panels");
  }
  return result;
}

std::vector<float> product(Isa isa, const PackedMatrix& w, int32_t first, int32_t count,
                           const ActivationTile& x) {
  return product(matmul_for(isa), w, first, count, x);
}

/// Which NaN comes out is not part of the contract: any of them is a fault.
uint32_t bits_of(float value) {
  return std::isnan(value) ? 0x7fc00000u : std::bit_cast<uint32_t>(value);
}

size_t differing(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  size_t count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += bits_of(a[i]) != bits_of(b[i]);
  return count;
}

/// Every instruction set this processor has gives the scalar bits, and so does the AMX kernel over
/// emulated tiles.
void check_isas(const PackedMatrix& w, int32_t first, int32_t count, const ActivationTile& x) {
  const auto want = product(Isa::scalar, w, first, count, x);
  for (Isa isa : kIsas) {
    if (isa == Isa::scalar || !can_run(isa)) continue;
    CAPTURE(name_of(isa));
    CAPTURE(x.rows);
    CHECK(differing(product(isa, w, first, count, x), want) == 0);
  }
#if defined(__x86_64__)
  const bool tiles = w.kind == PackKind::w4 || w.kind == PackKind::w4m || w.kind == PackKind::w8 ||
                     w.kind == PackKind::w8m;
  if (tiles && can_run(Isa::avx512)) {
    CAPTURE(x.rows);
    CHECK(differing(product(test::matmul_emulated_tiles, w, first, count, x), want) == 0);
  }
#endif
}

/// A file's row as whole numbers and scales, found by dequantising doctored copies of its blocks:
/// independent of how the backend takes blocks apart.
struct Integers {
  std::vector<int64_t> q;   ///< weight, with Q6_K's scale of 16 multiplied in
  std::vector<float> d, m;  ///< one a group
};

std::vector<float> values(DType dtype, std::span<const std::byte> block) {
  std::vector<float> out(static_cast<size_t>(traits_of(dtype).block));
  dequantise(dtype, block, out);
  return out;
}

void append_block(DType dtype, std::span<const std::byte> block, Integers& out) {
  constexpr uint16_t kOne = 0x3c00;
  uint16_t halves[2] = {0, 0};
  std::vector<std::byte> plain(block.begin(), block.end());
  const auto offsets = test::scale_offsets(dtype);
  for (size_t i = 0; i < offsets.size(); ++i) {
    std::memcpy(&halves[i], block.data() + offsets[i], 2);
    test::put_half(plain.data() + offsets[i], i == 0 ? kOne : 0);  // d = 1, min = 0
  }
  const float d = f16_to_f32(halves[0]), m = f16_to_f32(halves[1]);
  const bool eight_scales = dtype == DType::q4_k || dtype == DType::q5_k;
  std::vector<float> scales(8, 1), minima(8, 0);
  if (eight_scales) {
    std::vector<std::byte> ones = plain;  // all weights 1: the values are the scales
    std::fill(ones.begin() + 16, ones.end(), std::byte{0});
    std::fill(ones.end() - 128, ones.end(), std::byte{0x11});
    const auto scaled = values(dtype, ones);
    test::put_half(ones.data(), 0);
    test::put_half(ones.data() + 2, kOne);  // d = 0, dmin = 1: the values are minus the minima
    const auto lowered = values(dtype, ones);
    for (size_t g = 0; g < 8; ++g) {
      scales[g] = scaled[32 * g];
      minima[g] = -lowered[32 * g];
    }
    for (int i = 0; i < 12; ++i)
      plain[static_cast<size_t>(4 + i)] = static_cast<std::byte>(i / 4 == 1 ? 0 : 1);
  }
  const auto q = values(dtype, plain);
  for (float value : q) {
    out.q.push_back(static_cast<int64_t>(value));
    REQUIRE(static_cast<float>(out.q.back()) == value);
  }
  for (size_t g = 0; g < q.size() / 32; ++g) {
    out.d.push_back(d * scales[g]);
    out.m.push_back(eight_scales ? -(m * minima[g]) : m);
  }
}

Integers integers_of(const test::FileRows& file, int32_t row) {
  Integers result;
  const auto bytes = file.row(row);
  const auto block = static_cast<size_t>(traits_of(file.dtype).bytes);
  for (size_t at = 0; at < bytes.size(); at += block)
    append_block(file.dtype, bytes.subspan(at, block), result);
  return result;
}

float integer_sum(const Integers& w, bool has_minimum, const ActivationTile& x, int row) {
  float acc = 0;
  for (size_t g = 0; g < w.d.size(); ++g) {
    const size_t at = g * static_cast<size_t>(x.rows) + static_cast<size_t>(row);
    int64_t sum = 0;
    for (size_t k = 0; k < 32; ++k) sum += w.q[32 * g + k] * x.q[32 * at + k];
    REQUIRE(std::abs(sum) < 1 << 24);
    const float scale = w.d[g] * x.s[at];
    acc = std::fma(scale, static_cast<float>(sum), acc);
    if (has_minimum) acc = std::fma(w.m[g], x.p[at], acc);
  }
  return acc;
}

float float_sum(const test::FileRows& file, int32_t weight_row, const ActivationTile& x, int row) {
  std::vector<float> w(static_cast<size_t>(x.groups) * 32);
  dequantise(file.dtype, file.row(weight_row), std::span(w).first(static_cast<size_t>(file.cols)));
  float acc = 0;
  for (size_t g = 0; g < static_cast<size_t>(x.groups); ++g) {
    float block = 0;
    for (size_t k = 32 * g; k < 32 * g + 32; ++k)
      block = std::fma(w[k], x.x[static_cast<size_t>(row * x.x_stride) + k], block);
    acc = acc + block;
  }
  return acc;
}

bool is_quantised(DType dtype) { return traits_of(dtype).block > 1; }

int32_t any_cols(std::mt19937& rng, DType dtype) { return test::random_cols(rng, dtype, 24); }

}  // namespace

TEST_CASE("matmul: the scalar kernel gives the sums of the file's own blocks") {
  const uint32_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 rng(seed);
  for (DType dtype : test::kAllDTypes) {
    CAPTURE(traits_of(dtype).name);
    const bool has_minimum = has_min(format_of(dtype).kind);
    for (int round = 0; round < 4; ++round) {
      const auto file =
          test::random_rows(rng, dtype, 1 + static_cast<int32_t>(rng() % 40), any_cols(rng, dtype));
      const auto packed = test::pack(file);
      Activations x(1 + static_cast<int32_t>(rng() % 16), packed.matrix.groups);
      x.randomise(rng, file.cols);
      const auto got = product(Isa::scalar, packed.matrix, 0, packed.matrix.panels, x.tile());
      const auto stride = static_cast<size_t>(packed.matrix.panels) * 16;
      size_t different = 0;
      for (size_t o = 0; o < stride; ++o) {
        const auto weight_row = static_cast<int32_t>(o);
        const Integers w = is_quantised(dtype) && weight_row < file.rows
                               ? integers_of(file, weight_row)
                               : Integers{};
        for (int row = 0; row < x.tile().rows; ++row) {
          float want = 0;
          if (weight_row < file.rows)
            want = is_quantised(dtype) ? integer_sum(w, has_minimum, x.tile(), row)
                                       : float_sum(file, weight_row, x.tile(), row);
          different += bits_of(got[static_cast<size_t>(row) * stride + o]) != bits_of(want);
        }
      }
      CHECK(different == 0);
    }
  }
}

TEST_CASE("matmul: every instruction set gives the scalar bits, for 1 to 16 rows") {
  const uint32_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 rng(seed);
  for (DType dtype : test::kAllDTypes) {
    CAPTURE(traits_of(dtype).name);
    for (int32_t rows = 1; rows <= kTileRows; ++rows) {
      const auto file =
          test::random_rows(rng, dtype, 1 + static_cast<int32_t>(rng() % 80), any_cols(rng, dtype));
      const auto packed = test::pack(file);
      Activations x(rows, packed.matrix.groups);
      x.randomise(rng, file.cols);
      const auto first = static_cast<int32_t>(rng() % static_cast<uint32_t>(packed.matrix.panels));
      check_isas(packed.matrix, first, packed.matrix.panels - first, x.tile());
    }
  }
}

TEST_CASE("matmul: one output has the same bits in any tile, run of panels and row of the tile") {
  std::mt19937 rng(7);
  for (DType dtype : test::kAllDTypes) {
    CAPTURE(traits_of(dtype).name);
    const auto file = test::random_rows(rng, dtype, 64, 512);
    const auto packed = test::pack(file);
    Activations all(16, packed.matrix.groups);
    all.randomise(rng, 512);
    for (Isa isa : kIsas) {
      if (!can_run(isa)) continue;
      CAPTURE(name_of(isa));
      const auto whole = product(isa, packed.matrix, 0, 4, all.tile());
      for (int32_t row : {0, 7, 15}) {
        Activations one(1, packed.matrix.groups);
        const ActivationTile& tile = one.tile();
        for (int32_t g = 0; g < tile.groups; ++g) {
          const int32_t from = 16 * g + row;
          std::memcpy(tile.q + 32 * g, all.tile().q + 32 * from, 32);
          tile.s[g] = all.tile().s[from];
          tile.p[g] = all.tile().p[from];
          tile.minus8[g] = all.tile().minus8[from];
          tile.minus128[g] = all.tile().minus128[from];
          for (size_t half = 0; half < 2; ++half)
            tile.minus128_of[half][g] = all.tile().minus128_of[half][from];
        }
        std::memcpy(tile.x, all.tile().x + row * all.tile().x_stride,
                    sizeof(float) * static_cast<size_t>(tile.x_stride));
        for (int32_t panel = 0; panel < 4; ++panel) {
          const auto got = product(isa, packed.matrix, panel, 1, tile);
          CHECK(differing(got, std::span(whole).subspan(static_cast<size_t>(64 * row + 16 * panel),
                                                        16)) == 0);
        }
      }
    }
  }
}

TEST_CASE("matmul: extreme weights and activations do not overflow on any instruction set") {
  std::mt19937 rng(9);
  for (DType dtype : test::kAllDTypes) {
    if (!is_quantised(dtype)) continue;
    CAPTURE(traits_of(dtype).name);
    for (int pattern : {0x00, 0xff, 0x80, 0x7f, 0x0f, 0xf0}) {
      auto file = test::random_rows(rng, dtype, 16, 512);
      for (std::byte& byte : file.bytes) byte = static_cast<std::byte>(pattern);
      const auto block = static_cast<size_t>(traits_of(dtype).bytes);
      for (size_t at = 0; at < file.bytes.size(); at += block)
        for (int offset : test::scale_offsets(dtype))
          test::put_half(file.bytes.data() + at + static_cast<size_t>(offset), 0x3555);
      const auto packed = test::pack(file);
      for (int8_t value : {int8_t{127}, int8_t{-127}}) {
        for (int32_t rows : {1, 2, 5, 8, 13, 16}) {
          Activations x(rows, packed.matrix.groups);
          x.saturate(value);
          const auto got = product(Isa::scalar, packed.matrix, 0, 1, x.tile());
          const float want =
              integer_sum(integers_of(file, 3), has_min(packed.matrix.kind), x.tile(), rows - 1);
          CHECK(bits_of(got[static_cast<size_t>(16 * (rows - 1) + 3)]) == bits_of(want));
          check_isas(packed.matrix, 0, 1, x.tile());
        }
      }
    }
  }
}

TEST_CASE("matmul: a scale that is not a number or infinite spoils its own row alone") {
  std::mt19937 rng(11);
  for (DType dtype : test::kAllDTypes) {
    if (!is_quantised(dtype)) continue;
    CAPTURE(traits_of(dtype).name);
    for (uint16_t bad : {uint16_t{0x7e00}, uint16_t{0x7c00}, uint16_t{0xfc00}, uint16_t{0x7d01}}) {
      auto file = test::random_rows(rng, dtype, 16, 256);
      std::byte* block = file.bytes.data() + 5 * file.stride();
      test::put_half(block + test::scale_offsets(dtype).front(), bad);
      const auto packed = test::pack(file);
      for (int32_t rows : {1, 3, 16}) {
        Activations x(rows, packed.matrix.groups);
        x.saturate(3);
        const auto got = product(Isa::scalar, packed.matrix, 0, 1, x.tile());
        CHECK_FALSE(std::isfinite(got[5]));
        CHECK(std::isfinite(got[4]));
        CHECK(std::isfinite(got[6]));
        check_isas(packed.matrix, 0, 1, x.tile());
      }
    }
  }
}

}  // namespace native_matmul_test
