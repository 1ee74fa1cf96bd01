#include "cache/partial_index.h"

#include <doctest/doctest.h>

#include "config/limits.h"

using namespace troupe;

namespace partial_index_test {
namespace {

std::vector<TokenId> tokens(std::initializer_list<int32_t> ids) {
  std::vector<TokenId> all;
  for (int32_t id : ids) all.emplace_back(id);
  return all;
}

constexpr Digest kPrefix{1}, kOther{2};

}  // namespace

TEST_CASE("partial index: gives the block that agrees longest, behind the same prefix only") {
  PartialIndex index(10);
  index.add(kPrefix, BlockId(3), tokens({1, 2, 3, 4}));
  index.add(kPrefix, BlockId(4), tokens({1, 2, 9, 9, 9}));
  index.check();
  const auto best = index.match(kPrefix, tokens({1, 2, 9, 9, 1}));
  REQUIRE(best);
  CHECK(best->block == BlockId(4));
  CHECK(best->tokens == 4);
  CHECK(index.match(kPrefix, tokens({1, 2, 3}))->block == BlockId(3));
  CHECK(index.match(kPrefix, tokens({1, 2, 3}))->tokens == 3);
  CHECK_FALSE(index.match(kPrefix, tokens({2, 2})));
  CHECK_FALSE(index.match(kOther, tokens({1, 2})));
}

TEST_CASE("partial index: an erased block is found no more, and what is unknown is ignored") {
  PartialIndex index(10);
  index.add(kPrefix, BlockId(3), tokens({1, 2}));
  index.erase(BlockId(3));
  index.erase(BlockId(5));
  index.check();
  CHECK_FALSE(index.holds(BlockId(3)));
  CHECK_FALSE(index.match(kPrefix, tokens({1, 2})));
}

TEST_CASE("partial index: keeps a bounded number of blocks behind one prefix") {
  PartialIndex index(100);
  for (int32_t i = 0; i < 50; ++i) index.add(kPrefix, BlockId(i), tokens({i}));
  index.check();
  CHECK(index.holds(BlockId(static_cast<int32_t>(kPartialsPerPrefix) - 1)));
  CHECK_FALSE(index.holds(BlockId(static_cast<int32_t>(kPartialsPerPrefix))));
}

}  // namespace partial_index_test
