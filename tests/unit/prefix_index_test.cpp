#include "cache/prefix_index.h"

#include <doctest/doctest.h>

#include <map>
#include <random>

using namespace troupe;

namespace prefix_index_test {
namespace {

std::vector<Digest> chain_of(const Digest& root, const std::vector<int32_t>& tokens, size_t block) {
  std::vector<Digest> chain;
  Digest key = root;
  for (size_t i = 0; i + block <= tokens.size(); i += block) {
    std::vector<TokenId> ids;
    for (size_t j = i; j < i + block; ++j) ids.emplace_back(tokens[j]);
    chain.push_back(key = PrefixIndex::extend(key, ids));
  }
  return chain;
}

}  // namespace

TEST_CASE("prefix index: finds the longest known prefix and stops at the first gap") {
  PrefixIndex index;
  const auto chain = chain_of(PrefixIndex::root({}, 0, {}), {1, 2, 3, 4, 5, 6, 7, 8}, 2);
  REQUIRE(index.insert(chain[0], BlockId(10)));
  REQUIRE(index.insert(chain[1], BlockId(11)));
  REQUIRE(index.insert(chain[3], BlockId(13)));
  CHECK(index.match(chain) == std::vector<BlockId>{BlockId(10), BlockId(11)});
  index.erase(BlockId(10));
  CHECK(index.match(chain).empty());
  CHECK(index.size() == 2);
  index.check();
}

TEST_CASE(
    "prefix index: equal tokens after different prefixes, models, adapters or tenants have "
    "different keys") {
  Digest other_numerics{};
  other_numerics[31] = 1;
  Salt other_tenant{};
  other_tenant[0] = 1;
  const std::vector<TokenId> block{TokenId(1), TokenId(2)};
  const Digest root = PrefixIndex::root({}, 0, {});
  const Digest base = PrefixIndex::extend(root, block);
  CHECK(PrefixIndex::extend(root, block) == base);
  CHECK(PrefixIndex::extend(base, block) != base);
  CHECK(PrefixIndex::extend(PrefixIndex::root(other_numerics, 0, {}), block) != base);
  CHECK(PrefixIndex::extend(PrefixIndex::root({}, 1, {}), block) != base);
  CHECK(PrefixIndex::extend(PrefixIndex::root({}, 0, other_tenant), block) != base);
  CHECK(PrefixIndex::extend(root, std::vector<TokenId>{TokenId(2), TokenId(1)}) != base);
}

TEST_CASE("prefix index: the first block of a key stays, and a block has one key") {
  PrefixIndex index;
  const auto chain = chain_of(PrefixIndex::root({}, 0, {}), {1, 2, 3, 4}, 2);
  CHECK(index.insert(chain[0], BlockId(1)));
  CHECK_FALSE(index.insert(chain[0], BlockId(2)));
  CHECK_FALSE(index.insert(chain[1], BlockId(1)));
  CHECK(index.match(chain) == std::vector<BlockId>{BlockId(1)});
  index.erase(BlockId(2));
  CHECK(index.size() == 1);
  index.check();
}

TEST_CASE("prefix index: a match is exactly what a search over the tokens themselves finds") {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    PrefixIndex index;
    std::map<std::vector<int32_t>, BlockId> known;  // whole prefix -> block
    const Digest root = PrefixIndex::root({}, 0, {});
    for (int i = 0; i < 200; ++i) {
      std::vector<int32_t> tokens(2 * (1 + random() % 4));
      for (auto& token : tokens) token = static_cast<int32_t>(random() % 2);
      const auto chain = chain_of(root, tokens, 2);
      std::vector<BlockId> expected;
      for (size_t n = 2; n <= tokens.size(); n += 2) {
        auto at = known.find({tokens.begin(), tokens.begin() + static_cast<long>(n)});
        if (at == known.end()) break;
        expected.push_back(at->second);
      }
      REQUIRE(index.match(chain) == expected);
      const BlockId block(i);
      REQUIRE(index.insert(chain.back(), block) == known.emplace(tokens, block).second);
      if (random() % 3 == 0) {
        auto victim = known.begin();
        std::advance(victim, static_cast<long>(random() % known.size()));
        index.erase(victim->second);
        known.erase(victim);
      }
      index.check();
    }
  }
}

TEST_CASE("prefix index: holds blocks beyond the room it took at its start") {
  PrefixIndex index(2);
  const auto chain = chain_of(PrefixIndex::root({}, 0, {}), {1, 2, 3, 4}, 2);
  REQUIRE(index.insert(chain[0], BlockId(1)));
  CHECK_FALSE(index.holds(BlockId(0)));
  CHECK_FALSE(index.holds(BlockId(7)));
  REQUIRE(index.insert(chain[1], BlockId(7)));
  CHECK(index.holds(BlockId(7)));
  CHECK(index.match(chain) == std::vector<BlockId>{BlockId(1), BlockId(7)});
  index.erase(BlockId(100));
  index.erase(BlockId(7));
  CHECK(index.match(chain) == std::vector<BlockId>{BlockId(1)});
  index.check();
}

}  // namespace prefix_index_test
