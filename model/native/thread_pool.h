// Runs the phases of a step on a fixed set of threads: fork, chunks, join, some 200 times in a few
// milliseconds. Owner: one Partition; its thread is one of the pool's. Idle workers sleep.
//
// Chunks are claimed from one atomic word, so a thread that a busy neighbour keeps off its core
// costs the others at most the chunk it holds: keep chunks at 20 us or less. A phase costs well
// under a microsecond when the workers are awake.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "model/native/spin_budget.h"

namespace troupe::native {

/// Chunks of one phase at most; more would reach into the phase number.
inline constexpr int kPoolChunksMax = 1 << 30;
/// More threads than this on one phase wait for memory, or for each other.
inline constexpr int kPoolThreadsMax = 1'024;

class ThreadPool {
 public:
  /// `threads` (1..kPoolThreadsMax) counts the caller of run(); with 1 there are no workers.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Fewer than asked for when the system gave no more.
  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// body(chunk, thread) for each chunk in [0, chunks) exactly once, in about ascending order, with
  /// thread in [0, threads()). Returns when all are done; what they wrote is visible then. One
  /// caller at a time; a body neither throws nor calls run(). Allocates nothing. Sets the calling
  /// thread's float mode to that of the numeric contract.
  template <class Body>
  void run(int chunks, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run_call(
        chunks,
        [](const void* context, int chunk, int thread) noexcept {
          auto* plain = static_cast<Plain*>(const_cast<void*>(context));
          (*plain)(chunk, thread);
        },
        std::addressof(body));
  }

 private:
  using Call = void (*)(const void* context, int chunk, int thread) noexcept;

  void run_call(int chunks, Call call, const void* context);
  int claim();
  int work(int thread);
  void finish_phase(int own_chunks);
  void worker_loop(int thread);
  uint64_t await_phase(uint64_t seen, SpinBudget& spin);

  /// Number of the phase << 32 | kSpare + chunks that nobody claimed yet. The lower half falls
  /// below kSpare by at most one a thread, each of which then looks before it claims.
  alignas(64) std::atomic<uint64_t> word_;
  // Written between phases; read only by who holds a claim, and a claim keeps the phase going.
  Call call_ = nullptr;
  const void* context_ = nullptr;
  int chunks_ = 0;
  std::atomic<bool> stopping_ = false;
  /// Chunks of the phase that are not done; kCallerSleeps is added while the caller sleeps on it.
  alignas(64) std::atomic<uint32_t> unfinished_ = 0;
  /// Workers that sleep or are about to: each counts itself in and out.
  alignas(64) std::atomic<int> sleepers_ = 0;
  std::vector<std::thread> workers_;
};

}  // namespace troupe::native
