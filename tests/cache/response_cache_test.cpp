#include "cache/response_cache.h"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "cache/breaker.h"

namespace troupe {
namespace response_cache_test {
namespace {

Digest key_of(uint32_t number, uint8_t shard = 0) {
  Digest key{};
  key[0] = shard;
  for (size_t i = 0; i < 4; ++i) key[8 + i] = static_cast<uint8_t>(number >> (8 * i));
  return key;
}

CachedBytes value_of(size_t bytes, uint8_t fill = 1) {
  return CachedBytes(bytes, static_cast<std::byte>(fill));
}

TEST_CASE("response cache: gives back what was put, the newest for a key") {
  ResponseCache cache;
  CHECK(cache.get(key_of(1)) == nullptr);
  CHECK(cache.put(key_of(1), value_of(10, 1)));
  CHECK(cache.put(key_of(1), value_of(20, 2)));
  REQUIRE(cache.get(key_of(1)));
  CHECK(*cache.get(key_of(1)) == value_of(20, 2));
  CHECK(cache.stats().entries == 1);
  CHECK(cache.stats().bytes == 20 + ResponseCache::kEntryOverhead);
  CHECK(cache.stats().hits == 2);
  CHECK(cache.stats().misses == 1);
  cache.erase(key_of(1));
  CHECK(cache.get(key_of(1)) == nullptr);
  CHECK(cache.stats().bytes == 0);
}

TEST_CASE("response cache: the least recently used goes when the bytes run out") {
  ResponseCache cache(4 * (1'000 + ResponseCache::kEntryOverhead), 1);
  for (uint32_t i = 0; i < 4; ++i) CHECK(cache.put(key_of(i), value_of(1'000)));
  const auto held = cache.get(key_of(0));  // used: 1 is the oldest now
  CHECK(cache.put(key_of(4), value_of(1'000)));
  CHECK(cache.get(key_of(0)));
  CHECK_FALSE(cache.get(key_of(1)));
  CHECK(cache.stats().evictions == 1);
  CHECK(cache.put(key_of(5), value_of(2'500)));
  CHECK(cache.stats().entries <= 3);
  CHECK(*held == value_of(1'000));  // a reader keeps what it holds
}

TEST_CASE("response cache: a value that does not fit is not kept and pushes nothing out") {
  ResponseCache cache(10'000, 1);
  CHECK(cache.put(key_of(1), value_of(5'000)));
  CHECK_FALSE(cache.put(key_of(2), value_of(10'001)));
  CHECK(cache.get(key_of(1)));
  ResponseCache off(0);
  CHECK_FALSE(off.put(key_of(1), value_of(0)));
  ResponseCache large(1 << 30);
  CHECK_FALSE(large.put(key_of(1), value_of(static_cast<size_t>(kCachedResponseBytesMax) + 1)));
  CHECK(large.put(key_of(1), value_of(static_cast<size_t>(kCachedResponseBytesMax))));
}

TEST_CASE("response cache: many threads, never a torn value, never over its bound") {
  constexpr int64_t kBytes = 200'000;
  ResponseCache cache(kBytes, 4);
  std::atomic<int> torn{0}, hits{0};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (uint32_t i = 0; i < 20'000; ++i) {
        const uint32_t n = (i * 7 + t * 13) % 500;
        const auto fill = static_cast<uint8_t>(n);
        if (const auto value = cache.get(key_of(n, fill))) {
          ++hits;
          if (*value != value_of(100 + n, fill)) ++torn;
        } else {
          cache.put(key_of(n, fill), value_of(100 + n, fill));
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(torn == 0);
  CHECK(hits > 0);
  CHECK(cache.stats().bytes <= kBytes);
  CHECK(cache.stats().evictions > 0);
}

TEST_CASE("breaker: five errors within a second open it for two, slow errors never do") {
  const Time start{100s};
  Breaker breaker(5, 1s, 2s);
  for (int i = 0; i < 4; ++i) CHECK_FALSE(breaker.failed(start + i * 100ms));
  CHECK_FALSE(breaker.open(start + 400ms));
  CHECK(breaker.failed(start + 999ms));
  CHECK(breaker.open(start + 2'998ms));
  CHECK_FALSE(breaker.open(start + 2'999ms));
  Breaker patient(5, 1s, 2s);
  for (int i = 0; i < 100; ++i) CHECK_FALSE(patient.failed(start + i * 251ms));
}

}  // namespace
}  // namespace response_cache_test
}  // namespace troupe
