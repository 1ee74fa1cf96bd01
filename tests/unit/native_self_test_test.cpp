// The digest of a short computation through every kind of kernel, stored: each instruction set and
// each compiler must give these bits (N0, N1 of docs/performance.md).
#include <doctest/doctest.h>

#include <string>

#include "model/native/isa.h"
#include "model/native/self_test.h"

using namespace troupe::native;

TEST_CASE("native: the self-test gives the stored bits on every instruction set and compiler") {
  constexpr uint64_t kStored = 15246209590837186605u;
  for (int i = 0; i <= static_cast<int>(best_isa()); ++i) {
    const auto isa = static_cast<Isa>(i);
    CAPTURE(std::string(name_of(isa)));
    CHECK(self_test_digest(isa) == kStored);
  }
}
