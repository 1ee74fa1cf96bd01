// The packed layout against dequantise() of the file's own bytes.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <random>
#include <vector>

#include "tests/unit/native_rows.h"

using namespace troupe;
using namespace troupe::native;

namespace native_pack_test {
namespace {

/// Values of packed row `row` whose bits differ from dequantise() of the file's row.
size_t differing(const PackedMatrix& matrix, int64_t row, const test::FileRows& file,
                 int32_t file_row) {
  std::vector<float> want(static_cast<size_t>(file.cols)), got(want.size());
  dequantise(file.dtype, file.row(file_row), want);
  unpack_row(matrix, row, got);
  size_t count = 0;
  for (size_t i = 0; i < want.size(); ++i)
    count += std::bit_cast<uint32_t>(want[i]) != std::bit_cast<uint32_t>(got[i]);
  return count;
}

bool all_zero(const PackedMatrix& matrix, int64_t row) {
  std::vector<float> got(static_cast<size_t>(matrix.groups) * kGroup);
  unpack_row(matrix, row, got);
  return std::ranges::all_of(got, [](float value) { return value == 0; });
}

/// Rows of two files in any order, some twice, some left out, some of zeros.
std::vector<PackRow> random_map(std::mt19937& rng, const test::FileRows& a, const test::FileRows& b,
                                size_t size) {
  std::vector<PackRow> map(size);
  for (PackRow& row : map) {
    const auto source = static_cast<int32_t>(rng() % 3) - 1;
    if (source < 0) continue;
    const int32_t rows = source == 0 ? a.rows : b.rows;
    row = {source, static_cast<int32_t>(rng() % static_cast<uint32_t>(rows))};
  }
  return map;
}

}  // namespace

TEST_CASE("pack: any rows of any file format come back with the bits of dequantise") {
  const uint32_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 rng(seed);
  for (DType dtype : test::kAllDTypes) {
    CAPTURE(traits_of(dtype).name);
    for (int round = 0; round < 12; ++round) {
      const int32_t cols = test::random_cols(rng, dtype, 16);
      const auto a = test::random_rows(rng, dtype, 1 + static_cast<int32_t>(rng() % 40), cols);
      const auto b = test::random_rows(rng, dtype, 1 + static_cast<int32_t>(rng() % 5), cols);
      const auto map = random_map(rng, a, b, 1 + rng() % 50);
      const PackSource sources[] = {a.source(), b.source()};
      const auto packed = test::pack(sources, map);
      REQUIRE(packed.matrix.panels == static_cast<int32_t>((map.size() + 15) / 16));
      for (size_t r = 0; r < size_t{16} * static_cast<size_t>(packed.matrix.panels); ++r) {
        CAPTURE(r);
        const auto row = static_cast<int64_t>(r);
        if (r >= map.size() || map[r].source < 0)
          CHECK(all_zero(packed.matrix, row));
        else
          CHECK(differing(packed.matrix, row, map[r].source == 0 ? a : b, map[r].row) == 0);
      }
    }
  }
}

TEST_CASE("pack: formats that share a layout may stand in one matrix") {
  std::mt19937 rng(4);
  const auto a = test::random_rows(rng, DType::q8_0, 9, 96);
  const auto b = test::random_rows(rng, DType::q5_0, 9, 96);
  const PackSource sources[] = {a.source(), b.source()};
  std::vector<PackRow> map;
  for (int32_t r = 0; r < 9; ++r) {
    map.push_back({0, r});
    map.push_back({1, r});
  }
  const auto packed = test::pack(sources, map);
  for (int32_t r = 0; r < 9; ++r) {
    CHECK(differing(packed.matrix, 2 * r, a, r) == 0);
    CHECK(differing(packed.matrix, 2 * r + 1, b, r) == 0);
  }
}

TEST_CASE("pack: a run of panels touches no byte of the others") {
  std::mt19937 rng(5);
  for (DType dtype : {DType::q4_1, DType::q6_k, DType::bf16}) {
    const auto rows = test::random_rows(rng, dtype, 70, 256);
    const auto whole = test::pack(rows);
    std::vector<PackRow> map;
    for (int32_t r = 0; r < rows.rows; ++r) map.push_back({0, r});
    const PackSource source = rows.source();
    std::vector<std::byte> part(whole.bytes.size(), std::byte{0xa5});
    pack_panels(whole.matrix, {&source, 1}, map, 1, 2, part.data());
    const auto panel = static_cast<size_t>(whole.matrix.panel_bytes());
    for (size_t i = 0; i < part.size(); ++i) {
      const bool inside = i >= panel && i < 3 * panel;
      if (part[i] != (inside ? whole.bytes[i] : std::byte{0xa5})) FAIL_CHECK("byte " << i);
    }
  }
}

TEST_CASE("pack: sizes of the memory layout") {
  const auto bytes = [](DType dtype) { return shape_of(format_of(dtype), 17, 256).bytes(); };
  CHECK(bytes(DType::q4_0) == 2 * 8 * 288);
  CHECK(bytes(DType::q4_1) == 2 * 8 * 320);
  CHECK(bytes(DType::q5_0) == 2 * 8 * 544);
  CHECK(bytes(DType::q8_0) == 2 * 8 * 544);
  CHECK(bytes(DType::q5_1) == 2 * 8 * 576);
  CHECK(bytes(DType::q4_k) == 2 * 8 * 384);
  CHECK(bytes(DType::q5_k) == 2 * 8 * 640);
  CHECK(bytes(DType::q6_k) == 2 * 8 * 576);
  CHECK(bytes(DType::f32) == 2 * 8 * 2048);
  CHECK(bytes(DType::f16) == 2 * 8 * 1024);
}

}  // namespace native_pack_test
