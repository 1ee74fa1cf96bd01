#include "model/native/thread_pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <string>
#include <system_error>

#include "config/check.h"
#include "model/native/cpu_thread.h"

namespace troupe::native {

namespace {

constexpr uint64_t kPhase = uint64_t{1} << 32;
constexpr uint32_t kSpare = kPoolThreadsMax;
constexpr uint32_t kCallerSleeps = uint32_t{1} << 31;
static_assert(kPoolChunksMax + kSpare < kCallerSleeps);

constexpr int64_t kWorkerSpinMin = 2'000;
constexpr int64_t kWorkerSpinMax = 60'000;
constexpr int64_t kCallerSpin = 30'000;
constexpr int kPausesPerLook = 8;

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int left_of(uint64_t word) { return static_cast<int>(static_cast<uint32_t>(word) - kSpare); }

void futex_wait(const void* address, uint32_t expected) {
  ::syscall(SYS_futex, address, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void futex_wake(const void* address, int threads) {
  ::syscall(SYS_futex, address, FUTEX_WAKE_PRIVATE, threads, nullptr, nullptr, 0);
}

/// The half of the word that a worker sleeps on.
const void* phase_half(const std::atomic<uint64_t>& word) {
  static_assert(std::endian::native == std::endian::little && sizeof(word) == 8);
  return reinterpret_cast<const char*>(&word) + 4;
}

}  // namespace

ThreadPool::ThreadPool(int threads) : word_(kSpare) {
  TROUPE_CHECK(threads >= 1 && threads <= kPoolThreadsMax, threads);
  workers_.reserve(static_cast<size_t>(threads) - 1);
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { worker_loop(i); });
  } catch (const std::system_error&) {
    // Fewer threads do the same work, later.
  }
}

ThreadPool::~ThreadPool() {
  stopping_.store(true, std::memory_order_relaxed);
  word_.fetch_add(kPhase);
  futex_wake(phase_half(word_), kPoolThreadsMax);
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run_call(int chunks, Call call, const void* context) {
  TROUPE_CHECK(chunks >= 0 && chunks <= kPoolChunksMax, chunks);
  set_float_mode();
  if (chunks <= 1 || workers_.empty()) {
    for (int chunk = 0; chunk < chunks; ++chunk) call(context, chunk, 0);
    return;
  }
  call_ = call;
  context_ = context;
  chunks_ = chunks;
  TROUPE_CHECK(unfinished_.load(std::memory_order_relaxed) == 0);  // a second caller?
  unfinished_.store(static_cast<uint32_t>(chunks), std::memory_order_relaxed);
  const uint64_t phase = (word_.load(std::memory_order_relaxed) >> 32) + 1;
  // Sequentially consistent, as is a worker's way to sleep: either it sees this phase, or we see
  // it.
  word_.exchange(phase << 32 | (kSpare + static_cast<uint32_t>(chunks)));
  if (const int sleepers = sleepers_.load(); sleepers > 0)
    futex_wake(phase_half(word_), std::min(sleepers, chunks - 1));
  finish_phase(work(0));
}

/// The next chunk, or -1.
int ThreadPool::claim() {
  if (left_of(word_.load(std::memory_order_relaxed)) <= 0) return -1;
  const int left = left_of(word_.fetch_sub(1, std::memory_order_acquire));
  return left > 0 ? chunks_ - left : -1;
}

/// Works until nothing is left; how many chunks that were.
int ThreadPool::work(int thread) {
  int done = 0;
  for (int chunk = claim(); chunk >= 0; chunk = claim(), ++done) call_(context_, chunk, thread);
  return done;
}

void ThreadPool::finish_phase(int own_chunks) {
  const auto own = static_cast<uint32_t>(own_chunks);
  // The others report what they did in one go, so what is left is never below our own share.
  const auto others_done = [&] { return unfinished_.load(std::memory_order_acquire) == own; };
  for (int64_t end = 0; !others_done();) {
    for (int i = 0; i < kPausesPerLook && !others_done(); ++i) spin_pause();
    const int64_t now = now_ns();
    if (end == 0) end = now + kCallerSpin;
    if (now < end) continue;
    // A worker lost its core in the middle of a chunk. Asleep we leave ours to whoever is in its
    // way.
    uint32_t value = unfinished_.fetch_add(kCallerSleeps - own) + (kCallerSleeps - own);
    while (value != kCallerSleeps) {
      futex_wait(&unfinished_, value);
      value = unfinished_.load(std::memory_order_acquire);
    }
    break;
  }
  unfinished_.store(0, std::memory_order_relaxed);
}

void ThreadPool::worker_loop(int thread) {
  ::pthread_setname_np(::pthread_self(), ("native " + std::to_string(thread)).c_str());
  set_float_mode();
  SpinBudget spin(kWorkerSpinMin, kWorkerSpinMax);
  uint64_t seen = 0;
  for (;;) {
    seen = await_phase(seen, spin);
    if (stopping_.load(std::memory_order_relaxed)) return;
    const auto done = static_cast<uint32_t>(work(thread));
    if (done == 0) continue;
    if (unfinished_.fetch_sub(done, std::memory_order_acq_rel) - done == kCallerSleeps)
      futex_wake(&unfinished_, 1);
  }
}

/// Waits for another phase than `seen`: spins, then sleeps.
uint64_t ThreadPool::await_phase(uint64_t seen, SpinBudget& spin) {
  uint64_t phase = seen;
  if (spin.spin([&] { return (phase = word_.load(std::memory_order_acquire) >> 32) != seen; }))
    return phase;
  sleepers_.fetch_add(1);
  while ((phase = word_.load() >> 32) == seen)
    futex_wait(phase_half(word_), static_cast<uint32_t>(seen));
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
  return phase;
}

}  // namespace troupe::native
