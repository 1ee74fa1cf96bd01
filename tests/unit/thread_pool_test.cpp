#include "model/native/thread_pool.h"

#include <doctest/doctest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace troupe::native {
namespace thread_pool_test {
namespace {

TEST_CASE("thread pool: every chunk runs exactly once, whatever the counts") {
  const unsigned seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  for (int threads = 1; threads <= 5; ++threads) {
    ThreadPool pool(threads);
    REQUIRE(pool.threads() == threads);
    for (int round = 0; round < 400; ++round) {
      const int chunks = static_cast<int>(random() % (round % 8 == 0 ? 3'000 : 12));
      // Plain memory: what a chunk wrote must be visible to the caller without further ado.
      std::vector<int> times(static_cast<size_t>(chunks)), by(static_cast<size_t>(chunks), -1);
      pool.run(chunks, [&](int chunk, int thread) {
        ++times[static_cast<size_t>(chunk)];
        by[static_cast<size_t>(chunk)] = thread;
      });
      for (int chunk = 0; chunk < chunks; ++chunk) {
        REQUIRE(times[static_cast<size_t>(chunk)] == 1);
        REQUIRE(by[static_cast<size_t>(chunk)] >= 0);
        REQUIRE(by[static_cast<size_t>(chunk)] < threads);
      }
    }
  }
}

TEST_CASE("thread pool: a phase sees all that the phase before it wrote") {
  // A chain: each phase mixes neighbours of the previous one's result, so one lost or stale write
  // changes the end. The oracle is the same chain on one thread.
  constexpr int kItems = 37, kPhases = 2'000;
  const auto chain = [](ThreadPool& pool) {
    std::vector<uint32_t> now(kItems), next(kItems);
    std::iota(now.begin(), now.end(), 1u);
    for (int phase = 0; phase < kPhases; ++phase) {
      pool.run(kItems, [&](int i, int) {
        const auto at = static_cast<size_t>(i);
        next[at] = now[at] * 1'664'525 + now[(at + 1) % kItems] + static_cast<uint32_t>(phase);
      });
      now.swap(next);
    }
    return now;
  };
  ThreadPool alone(1), three(3);
  CHECK(chain(alone) == chain(three));
}

TEST_CASE("thread pool: a hundred thousand phases neither lose nor repeat work") {
  ThreadPool pool(3);
  std::vector<uint64_t> sums(8 * 3);  // a line each
  uint64_t expected = 0;
  for (uint64_t phase = 0; phase < 100'000; ++phase) {
    const int chunks = static_cast<int>(phase % 5);
    for (int i = 0; i < chunks; ++i) expected += phase + static_cast<uint64_t>(i);
    pool.run(chunks, [&](int chunk, int thread) {
      sums[static_cast<size_t>(thread) * 8] += phase + static_cast<uint64_t>(chunk);
    });
  }
  CHECK(sums[0] + sums[8] + sums[16] == expected);
}

TEST_CASE("thread pool: all its threads work on one phase together") {
  constexpr int kThreads = 4;
  ThreadPool pool(kThreads);
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> inside = 0;
    std::vector<int> seen(kThreads);
    // Each chunk waits for the others, so each needs a thread of its own: this never ends
    // otherwise.
    pool.run(kThreads, [&](int, int thread) {
      ++inside;
      while (inside != kThreads) std::this_thread::yield();
      ++seen[static_cast<size_t>(thread)];
    });
    CHECK(seen == std::vector<int>(kThreads, 1));
  }
}

/// How many threads of pools are off their core, waiting.
int asleep() {
  int count = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream stat(task.path() / "stat");
    std::string id, name, rank, state;
    stat >> id >> name >> rank >> state;
    count += name == "(native" && state == "S";
  }
  return count;
}

TEST_CASE("thread pool: workers without work sleep, and wake for the next phase") {
  ThreadPool pool(4);
  for (int round = 0; round < 3; ++round) {
    while (asleep() != 3) std::this_thread::yield();
    std::vector<int> times(100);
    pool.run(100, [&](int chunk, int) { ++times[static_cast<size_t>(chunk)]; });
    CHECK(times == std::vector<int>(100, 1));
  }
}

TEST_CASE("thread pool: it ends while its workers sleep, spin or have not begun") {
  for (int round = 0; round < 60; ++round) {
    ThreadPool pool(2 + round % 3);
    int sum = 0;
    if (round % 3 == 1) pool.run(9, [](int, int) {});
    if (round % 3 == 2)
      while (asleep() != pool.threads() - 1) std::this_thread::yield();
    pool.run(1, [&](int, int) { sum = 1; });
    CHECK(sum == 1);
  }
}

#if defined(__x86_64__)
TEST_CASE("thread pool: bodies compute in the contract's float mode, whatever the caller's was") {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);  // flush denormals, both ways
  ThreadPool pool(3);
  std::vector<unsigned> modes(64);
  pool.run(64, [&](int chunk, int) { modes[static_cast<size_t>(chunk)] = _mm_getcsr() & ~0x3Fu; });
  CHECK(modes == std::vector<unsigned>(64, 0x1F80));
  _mm_setcsr(before);
}
#endif

}  // namespace
}  // namespace thread_pool_test
}  // namespace troupe::native
