// Weight formats against the numpy dequantisation of PyPI gguf (tests/golden/dequant).
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "model/dtype.h"

using namespace troupe;

namespace dequantise_test {
namespace {

std::vector<std::byte> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

uint32_t u32_at(std::span<const std::byte> bytes, size_t at) {
  uint32_t value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

}  // namespace

TEST_CASE("dequantise: every format gives the bits of the gguf package") {
  const std::pair<const char*, DType> formats[] = {
      {"f32", DType::f32},   {"f16", DType::f16},   {"bf16", DType::bf16}, {"q4_0", DType::q4_0},
      {"q4_1", DType::q4_1}, {"q5_0", DType::q5_0}, {"q5_1", DType::q5_1}, {"q8_0", DType::q8_0},
      {"q4_k", DType::q4_k}, {"q5_k", DType::q5_k}, {"q6_k", DType::q6_k}};
  for (const auto& [name, dtype] : formats) {
    CAPTURE(name);
    const auto file =
        read_file(TROUPE_SOURCE_DIR "/tests/golden/dequant/" + std::string(name) + ".bin");
    REQUIRE(file.size() > 16);
    REQUIRE(std::memcmp(file.data(), "TDQ1", 4) == 0);
    CHECK(dtype_from_ggml(u32_at(file, 4)) == dtype);
    const size_t packed = u32_at(file, 8), values = u32_at(file, 12);
    REQUIRE(file.size() == 16 + packed + 4 * values);
    REQUIRE(row_bytes(traits_of(dtype), static_cast<int64_t>(values)) ==
            static_cast<int64_t>(packed));
    std::vector<float> got(values);
    dequantise(dtype, std::span(file).subspan(16, packed), got);
    size_t different = 0;
    for (size_t i = 0; i < values; ++i)
      different += std::bit_cast<uint32_t>(got[i]) != u32_at(file, 16 + packed + 4 * i);
    CHECK(different == 0);
  }
}

TEST_CASE("f16: every half survives the way to float and back") {
  for (uint32_t half = 0; half < 65'536; ++half) {
    const float value = f16_to_f32(static_cast<uint16_t>(half));
    if (std::isnan(value)) {
      CHECK(std::isnan(f16_to_f32(f32_to_f16(value))));
    } else if (f32_to_f16(value) != half) {
      FAIL_CHECK("half " << half << " came back as " << f32_to_f16(value));
    }
  }
}

TEST_CASE("f16: a float between two halves goes to the nearest, a tie to the even one") {
  for (uint32_t half = 0; half < 0x7bff; ++half) {
    const float low = f16_to_f32(static_cast<uint16_t>(half));
    const float high = f16_to_f32(static_cast<uint16_t>(half + 1));
    const float middle = low + (high - low) / 2;  // exact: halves have 11 bits
    const uint32_t even = half % 2 == 0 ? half : half + 1;
    const float infinity = std::numeric_limits<float>::infinity();
    const bool good = f32_to_f16(middle) == even && f32_to_f16(-middle) == (even | 0x8000) &&
                      f32_to_f16(std::nextafter(middle, infinity)) == half + 1 &&
                      f32_to_f16(std::nextafter(middle, -infinity)) == half;
    if (!good) FAIL_CHECK("wrong rounding between halves " << half << " and " << half + 1);
  }
  CHECK(f32_to_f16(65519.996f) == 0x7bff);
  CHECK(f32_to_f16(65520.0f) == 0x7c00);
  CHECK(f32_to_f16(-1e30f) == 0xfc00);
}

TEST_CASE("bf16: the upper half of a float") {
  CHECK(bf16_to_f32(0x3f80) == 1.0f);
  CHECK(bf16_to_f32(0xc049) == -3.140625f);
}

TEST_CASE("dtype: formats of GGML we don't read are none") {
  for (uint32_t type : {4u, 5u, 9u, 10u, 11u, 15u, 16u, 29u, 31u, 40u, 0xffffffffu})
    CHECK_FALSE(dtype_from_ggml(type).has_value());
}

}  // namespace dequantise_test
