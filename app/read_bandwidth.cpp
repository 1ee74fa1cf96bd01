#include "app/read_bandwidth.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "config/limits.h"

namespace troupe {

namespace {

constexpr int64_t kHugePage = 2 * kMiB;

// 32 bytes, because g++ leaves a plain sum scalar at -O2, which cannot keep up with the memory.
using Lanes __attribute__((vector_size(32))) = uint64_t;

/// `count` is a multiple of 4: parts are whole huge pages.
uint64_t sum_of(const Lanes* lanes, size_t count) {
  Lanes a{}, b{}, c{}, d{};
  for (size_t i = 0; i < count; i += 4) {
    a += lanes[i];
    b += lanes[i + 1];
    c += lanes[i + 2];
    d += lanes[i + 3];
  }
  a += b + c + d;
  return a[0] + a[1] + a[2] + a[3];
}

}  // namespace

Result<double> read_bandwidth(int64_t bytes, int32_t threads, int32_t rounds) {
  // Whole huge pages for each thread, and one more to align the start.
  const int64_t part = (bytes / threads + kHugePage - 1) / kHugePage * kHugePage;
  const size_t mapped = static_cast<size_t>(part * threads + kHugePage);
  void* const map =
      ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED)
    return fail(ErrorCode::too_large,
                fmt::format("the read bandwidth cannot be measured without {} MiB of free memory; "
                            "free some or leave it out with --no-bandwidth",
                            mapped / kMiB));
  void* start = map;
  size_t room = mapped;
  std::align(kHugePage, static_cast<size_t>(part * threads), start, room);
  ::madvise(start, static_cast<size_t>(part * threads), MADV_HUGEPAGE);

  std::atomic<uint64_t> total = 0;
  std::vector<double> seconds;
  auto begun = std::chrono::steady_clock::now();
  // All threads pass it together: the time between two passes is that of the slowest.
  std::barrier together(threads, [&]() noexcept {
    const auto now = std::chrono::steady_clock::now();
    seconds.push_back(std::chrono::duration<double>(now - begun).count());
    begun = now;
  });
  seconds.reserve(static_cast<size_t>(rounds) + 1);
  std::vector<std::jthread> running;
  for (int32_t t = 0; t < threads; ++t)
    running.emplace_back([&, t] {
      auto* mine = static_cast<std::byte*>(start) + part * t;
      std::memset(mine, t + 1, static_cast<size_t>(part));  // each page on its reader's node
      together.arrive_and_wait();
      for (int32_t i = 0; i < rounds; ++i) {
        total +=
            sum_of(reinterpret_cast<const Lanes*>(mine), static_cast<size_t>(part) / sizeof(Lanes));
        together.arrive_and_wait();
      }
    });
  running.clear();
  ::munmap(map, mapped);
  // The first interval is that of the filling.
  const double best = *std::min_element(seconds.begin() + 1, seconds.end());
  return static_cast<double>(part * threads) / best;
}

}  // namespace troupe
