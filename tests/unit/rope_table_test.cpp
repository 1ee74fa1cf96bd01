// The rotary table against long double arithmetic of the C library.
#include "model/native/rope_table.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "model/native/exact_trig.h"

using namespace troupe;
using namespace troupe::native;

namespace rope_table_test {
namespace {

/// Half a unit in the last place of a float32 near x, and a little for double rounding.
double float_error(double x) { return std::abs(x) * 0x1.0001p-24 + 1e-16; }

void check_table(RopeTable& table, std::span<const double> frequencies, int32_t step,
                 int32_t context) {
  table.ensure(context);
  int wrong = 0, all = 0;
  for (int32_t p = 0; p < context; p += step)
    for (size_t i = 0; i < frequencies.size(); ++i) {
      const long double angle = static_cast<long double>(p * frequencies[i]);
      const long double c = std::cos(angle), s = std::sin(angle);
      REQUIRE(std::abs(table.cos(p)[i] - c) <= float_error(static_cast<double>(c)));
      REQUIRE(std::abs(table.sin(p)[i] - s) <= float_error(static_cast<double>(s)));
      wrong += table.cos(p)[i] != static_cast<float>(std::cos(p * frequencies[i]));
      wrong += table.sin(p)[i] != static_cast<float>(std::sin(p * frequencies[i]));
      all += 2;
    }
  // Equal to the C library's double functions but for its own last bit at a tie of float32.
  CHECK(wrong <= all / 1'000'000);
}

}  // namespace

TEST_CASE("rope table: powers are the true ones, rounded") {
  int different = 0;
  for (double base : {10000.0, 100000.0, 500000.0, 1e6, 1234.5, 1.5, 0.5, 1.0})
    for (int32_t denominator : {2, 64, 80, 96, 128, 1024})
      for (int32_t numerator = 0; numerator < denominator; numerator += 2) {
        CAPTURE(base);
        CAPTURE(numerator);
        const long double truth = std::pow(static_cast<long double>(base),
                                           -static_cast<long double>(numerator) / denominator);
        const double power = exact_inverse_power(base, numerator, denominator);
        // long double has 11 bits more: a true value so near a tie of double may go either way.
        REQUIRE(std::abs(power - truth) <= 0x1.01p-53L * truth);
        different += power != static_cast<double>(truth);
      }
  CHECK(different <= 20);
}

TEST_CASE("rope table: cosines and sines are the true ones, rounded, up to a long context") {
  for (double base : {10000.0, 100000.0}) {
    RopeTable table({.base = base}, 64, 131072, {});
    std::vector<double> frequencies;
    for (int i = 0; i < 32; ++i) frequencies.push_back(std::pow(base, -i / 32.0));
    for (size_t i = 0; i < frequencies.size(); ++i)
      CHECK(table.frequencies()[i] == doctest::Approx(frequencies[i]).epsilon(1e-15));
    check_table(table, table.frequencies(), 37, 131072);
  }
}

TEST_CASE("rope table: scaling and the file's own divisors change frequencies as defined") {
  const RopeSpec plain{.base = 500000};
  RopeSpec linear = plain, llama3 = plain;
  linear.scaling = RopeScaling::linear;
  linear.factor = 4;
  llama3.scaling = RopeScaling::llama3;
  llama3.factor = 8;
  llama3.low_freq_factor = 1;
  llama3.high_freq_factor = 4;
  llama3.original_context = 8192;
  std::vector<float> divisors(64);
  for (size_t i = 0; i < 64; ++i) divisors[i] = 1 + static_cast<float>(i) / 8;
  const RopeTable a(plain, 128, 300, {}), b(linear, 128, 300, {}), c(llama3, 128, 300, {}),
      d(llama3, 128, 300, divisors);
  int kept = 0, stretched = 0;
  for (size_t i = 0; i < 64; ++i) {
    const double f = a.frequencies()[i], wavelength = 2 * 3.14159265358979323846 / f;
    CHECK(b.frequencies()[i] == f / 4);
    CHECK(d.frequencies()[i] == f / static_cast<double>(divisors[i]));
    if (wavelength < 2048) {
      CHECK(c.frequencies()[i] == f);
      ++kept;
    } else if (wavelength > 8192) {
      CHECK(c.frequencies()[i] == f / 8);
      ++stretched;
    } else {
      const double smooth = (8192 / wavelength - 1) / 3;
      CHECK(c.frequencies()[i] ==
            doctest::Approx((1 - smooth) * f / 8 + smooth * f).epsilon(1e-14));
    }
  }
  CHECK(kept > 10);
  CHECK(stretched > 10);
  CHECK(a.checksum(5000) != b.checksum(5000));
  CHECK(b.checksum(5000) != c.checksum(5000));
  CHECK(c.checksum(5000) != d.checksum(5000));
}

TEST_CASE(
    "rope table: rows never move, and the checksum is the same however much is or can be made") {
  const RopeSpec rope{.base = 10000};
  RopeTable little(rope, 20, 600, {}), much(rope, 20, 5000, {});
  const float* first = little.cos(0);
  const std::vector<float> before(first, first + 10);
  much.ensure(5000);
  little.ensure(257);
  CHECK(little.cos(0) == first);
  CHECK(std::vector<float>(first, first + 10) == before);
  CHECK(little.checksum(5000) == much.checksum(5000));
  CHECK(much.checksum(5000) != much.checksum(4096));
  for (int32_t p : {0, 1, 255, 256, 511})
    for (size_t i = 0; i < 10; ++i) {
      CHECK(little.cos(p)[i] == much.cos(p)[i]);
      CHECK(little.sin(p)[i] == much.sin(p)[i]);
    }
  CHECK(much.sin(4999)[0] == static_cast<float>(std::sin(4999.0)));
}

}  // namespace rope_table_test
