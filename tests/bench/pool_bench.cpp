// How the thread pool does beside other work: steps of 150 phases, alone, with one busy neighbour
// and with one on each core, in alternating runs; and what an empty phase costs.
//   pool_bench [threads] [rounds]
// The neighbours are processes of this program that only compute.
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <thread>
#include <vector>

#include "model/native/thread_pool.h"

namespace {

using troupe::native::ThreadPool;

constexpr int kPhases = 150;
constexpr int kChunks = 4;           // a phase: some 20 us on two threads, as in a decode step
constexpr int kChunkWords = 40'000;  // 160 KB: about 10 us of one core's memory bandwidth
constexpr int kMixRounds = 7'000;    // about 10 us of arithmetic
constexpr double kRunSeconds = 0.7;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

volatile uint32_t sink;

[[noreturn]] void be_busy() {
  for (uint32_t x = 1;; x = x * 1'664'525 + 1) sink = x;
}

/// Processes that compute whenever they are let.
class Neighbours {
 public:
  explicit Neighbours(int count) {
    for (int i = 0; i < count; ++i) {
      const pid_t child = ::fork();
      if (child == 0) be_busy();
      ::kill(child, SIGSTOP);
      children_.push_back(child);
    }
  }
  ~Neighbours() {
    for (pid_t child : children_) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
  }
  void let(int busy) {
    for (int i = 0; i < static_cast<int>(children_.size()); ++i)
      ::kill(children_[static_cast<size_t>(i)], i < busy ? SIGCONT : SIGSTOP);
    ::usleep(50'000);
  }

 private:
  std::vector<pid_t> children_;
};

struct alignas(64) Slot {
  uint32_t sum = 0;
};

/// Steps a second of a body.
template <class Body>
double rate(ThreadPool& pool, Body&& body) {
  const double start = seconds();
  int steps = 0;
  double now = start;
  for (; now - start < kRunSeconds; now = seconds(), ++steps)
    for (int phase = 0; phase < kPhases; ++phase)
      pool.run(kChunks, [&](int chunk, int thread) { body(phase * kChunks + chunk, thread); });
  return steps / (now - start);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

template <class Body>
void table(const char* name, ThreadPool& pool, Neighbours& neighbours, int cores, int rounds,
           Body&& body) {
  std::array<std::vector<double>, 3> rates;
  for (int round = 0; round < rounds; ++round) {
    for (int busy : {0, 1, 2}) {
      neighbours.let(busy == 2 ? cores : busy);
      rates[static_cast<size_t>(busy)].push_back(rate(pool, body));
    }
  }
  neighbours.let(0);
  const double quiet = median(rates[0]);
  fmt::print(
      "{:10} {} threads: quiet {:.0f} steps/s; one neighbour {:.2f}x; {} neighbours {:.2f}x\n",
      name, pool.threads(), quiet, median(rates[1]) / quiet, cores, median(rates[2]) / quiet);
}

}  // namespace

int main(int argc, char** argv) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  const int threads = argc > 1 ? std::atoi(argv[1]) : cores;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 5;
  Neighbours neighbours(cores);
  ThreadPool pool(threads);

  std::vector<double> empty;
  for (int round = 0; round < 20; ++round) {
    constexpr int kEmpty = 20'000;
    const double start = seconds();
    for (int i = 0; i < kEmpty; ++i) pool.run(threads, [](int, int) {});
    empty.push_back((seconds() - start) / kEmpty * 1e6);
  }
  fmt::print("empty phase: median {:.3f} us, best {:.3f} us\n", median(empty),
             *std::ranges::min_element(empty));

  std::vector<Slot> slots(static_cast<size_t>(threads));
  table("arithmetic", pool, neighbours, cores, rounds, [&](int, int thread) {
    uint32_t x = slots[static_cast<size_t>(thread)].sum;
    for (int i = 0; i < kMixRounds; ++i) x = x * 1'664'525 + 1;
    slots[static_cast<size_t>(thread)].sum = x;
  });

  constexpr size_t kWords = size_t{kPhases} * kChunks * kChunkWords;
  void* at =
      ::mmap(nullptr, kWords * 4, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return 1;
  ::madvise(at, kWords * 4, MADV_HUGEPAGE);
  auto* words = static_cast<uint32_t*>(at);
  std::fill(words, words + kWords, 1u);
  table("memory", pool, neighbours, cores, rounds, [&](int chunk, int thread) {
    const uint32_t* from = words + static_cast<size_t>(chunk) * kChunkWords;
    uint32_t sum = 0;
    for (int i = 0; i < kChunkWords; ++i) sum += from[i];
    slots[static_cast<size_t>(thread)].sum += sum;
  });
  return 0;
}
