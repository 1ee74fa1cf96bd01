#include "cache/block_pool.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

using namespace troupe;

TEST_CASE("block pool: take gives distinct blocks, or none at all") {
  BlockPool pool(4);
  const auto three = pool.take(3);
  REQUIRE(three.has_value());
  CHECK(std::set<BlockId>(three->begin(), three->end()).size() == 3);
  CHECK_FALSE(pool.take(2).has_value());
  CHECK(pool.free() == 1);
  CHECK(pool.owned() == 3);
  pool.check();
}

TEST_CASE("block pool: a block is free only after its last holder let go") {
  BlockPool pool(1);
  const BlockId block = pool.take(1)->front();
  pool.retain(block);
  pool.release(block);
  CHECK(pool.free() == 0);
  pool.release(block);
  CHECK(pool.free() == 1);
  pool.check();
}

TEST_CASE("block pool: what is worth keeping is cached and evicted in the order of release") {
  BlockPool pool(3);
  const auto blocks = *pool.take(3);
  for (BlockId block : blocks) pool.keep(block);
  pool.release(blocks[1]);
  pool.release(blocks[0]);
  CHECK(pool.cached() == 2);
  CHECK(pool.free() == 0);
  CHECK_FALSE(pool.take(1).has_value());
  CHECK(pool.evict() == blocks[1]);
  CHECK(pool.evict() == blocks[0]);
  CHECK_FALSE(pool.evict().has_value());
  CHECK(pool.free() == 2);
  pool.check();
}

TEST_CASE("block pool: a cached block that is held again is not evicted") {
  BlockPool pool(2);
  const auto blocks = *pool.take(2);
  for (BlockId block : blocks) {
    pool.keep(block);
    pool.release(block);
  }
  pool.retain(blocks[0]);
  CHECK(pool.evict() == blocks[1]);
  CHECK_FALSE(pool.evict().has_value());
  pool.release(blocks[0]);
  CHECK(pool.cached() == 1);
  pool.check();
}

TEST_CASE("block pool: an evicted block starts anew and is free when released") {
  BlockPool pool(1);
  const BlockId block = pool.take(1)->front();
  pool.keep(block);
  pool.release(block);
  pool.evict();
  CHECK(pool.take(1)->front() == block);
  pool.release(block);
  CHECK(pool.cached() == 0);
  CHECK(pool.free() == 1);
}

TEST_CASE("block pool: agrees with a plain model over random moves") {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    BlockPool pool(7);
    std::map<BlockId, int> holders;
    std::set<BlockId> kept;
    std::vector<BlockId> cached;
    for (int move = 0; move < 400; ++move) {
      const auto any_held = [&] {
        auto at = holders.begin();
        std::advance(at, static_cast<long>(random() % holders.size()));
        return at->first;
      };
      switch (random() % 6) {
        case 0:
        case 1: {
          const auto count = static_cast<int32_t>(random() % 4);
          const auto free = 7 - static_cast<int32_t>(holders.size() + cached.size());
          const auto taken = pool.take(count);
          REQUIRE(taken.has_value() == (count <= free));
          if (taken) {
            for (BlockId block : *taken) REQUIRE(holders.emplace(block, 1).second);
          }
          break;
        }
        case 2:
          if (!holders.empty()) {
            const BlockId block = any_held();
            pool.release(block);
            if (--holders[block] == 0) {
              holders.erase(block);
              if (kept.contains(block)) cached.push_back(block);
            }
          }
          break;
        case 3:
          if (!holders.empty()) {
            const BlockId block = any_held();
            pool.keep(block);
            kept.insert(block);
          }
          break;
        case 4:
          if (!cached.empty() && random() % 2 == 0) {
            const BlockId block = cached[random() % cached.size()];
            std::erase(cached, block);
            pool.retain(block);
            holders[block] = 1;
          } else if (!holders.empty()) {
            const BlockId block = any_held();
            pool.retain(block);
            ++holders[block];
          }
          break;
        default: {
          const auto evicted = pool.evict();
          REQUIRE(evicted.has_value() == !cached.empty());
          if (evicted) {
            REQUIRE(*evicted == cached.front());
            cached.erase(cached.begin());
            kept.erase(*evicted);
          }
        }
      }
      pool.check();
      REQUIRE(pool.owned() == static_cast<int32_t>(holders.size()));
      REQUIRE(pool.cached() == static_cast<int32_t>(cached.size()));
      for (auto [block, count] : holders) REQUIRE(pool.holders(block) == count);
    }
  }
}
