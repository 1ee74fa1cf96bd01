#include "model/native/activations.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

using namespace troupe::native;

namespace native_activations_test {
namespace {

constexpr uint32_t kSeed = 20'261;
constexpr int32_t kRows = 21, kWidth = 100;  // tiles of 11 and 10 rows; the last group is short

TileReaders of(PackKind kind) {
  TileReaders readers;
  readers.add(kind);
  return readers;
}

}  // namespace

TEST_CASE(
    "native activations: a column that no reader needs is not kept, the others are the same") {
  std::mt19937 random(kSeed);
  CAPTURE(kSeed);
  std::normal_distribution<float> normal;
  std::vector<float> x(kRows * kWidth);
  for (float& v : x) v = normal(random);
  TileReaders everybody;
  for (PackKind kind : {PackKind::w4, PackKind::w8, PackKind::q6, PackKind::f32})
    everybody.add(kind);
  const VectorKernels& kernels = vector_kernels_for(best_isa());
  auto all = Activations::make(kRows, kWidth, everybody);
  REQUIRE(all);
  all->set_rows(kRows);
  for (int32_t row = 0; row < kRows; ++row)
    REQUIRE(all->put(kernels, row, 0, x.data() + row * kWidth, kWidth));
  for (PackKind kind :
       {PackKind::w4, PackKind::w4m, PackKind::w8, PackKind::w8m, PackKind::q6, PackKind::bf16}) {
    CAPTURE(static_cast<int>(kind));
    auto some = Activations::make(kRows, kWidth, of(kind));
    REQUIRE(some);
    some->set_rows(kRows);
    for (int32_t tile = 0; tile < some->tiling().count; ++tile)
      REQUIRE(some->put_tile(kernels, tile, 0, x.data() + some->tiling().first(tile) * kWidth,
                             kWidth, kWidth));
    for (int32_t tile = 0; tile < some->tiling().count; ++tile) {
      const ActivationTile a = all->tile(tile), b = some->tile(tile);
      CHECK((b.minus8 != nullptr) == (kind == PackKind::w4));
      CHECK((b.minus128 != nullptr) == (kind == PackKind::w8));
      CHECK((b.minus128_of[0] != nullptr) == (kind == PackKind::q6));
      CHECK((b.minus128_of[1] != nullptr) == (kind == PackKind::q6));
      CHECK((b.x != nullptr) == (kind == PackKind::bf16));
      const int cells = b.groups * b.rows;
      for (int i = 0; i < cells; ++i) {
        CHECK(a.s[i] == b.s[i]);
        CHECK(a.p[i] == b.p[i]);
        if (b.minus8 != nullptr) CHECK(a.minus8[i] == b.minus8[i]);
        if (b.minus128 != nullptr) CHECK(a.minus128[i] == b.minus128[i]);
        for (int half = 0; half < 2; ++half)
          if (b.minus128_of[half] != nullptr)
            CHECK(a.minus128_of[half][i] == b.minus128_of[half][i]);
      }
      for (int i = 0; i < cells * 32; ++i) REQUIRE(a.q[i] == b.q[i]);
      if (b.x == nullptr) continue;
      for (int32_t r = 0; r < b.rows; ++r)
        for (int32_t k = 0; k < kWidth; ++k)
          REQUIRE(b.x[r * b.x_stride + k] == x[(some->tiling().first(tile) + r) * kWidth + k]);
    }
  }
}

TEST_CASE(
    "native activations: a value that is not finite is told, wherever in the tile it stands") {
  const VectorKernels& kernels = vector_kernels_for(best_isa());
  auto made = Activations::make(16, 64, of(PackKind::w4m));
  REQUIRE(made);
  made->set_rows(16);
  for (int bad : {0, 70, 16 * 64 - 1}) {
    std::vector<float> x(16 * 64, 1.0f);
    CHECK(made->put_tile(kernels, 0, 0, x.data(), 64, 64));
    x[static_cast<size_t>(bad)] = std::nanf("");
    CHECK_FALSE(made->put_tile(kernels, 0, 0, x.data(), 64, 64));
  }
}

}  // namespace native_activations_test
