// One thread that does jobs in order, with a bounded queue. Jobs must not block on each other.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace troupe {

class Worker {
 public:
  explicit Worker(size_t jobs_max) : jobs_max_(jobs_max), thread_([this] { run(); }) {}
  ~Worker() { stop(); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// False, and `job` is not taken, when the queue is full.
  [[nodiscard]] bool offer(std::move_only_function<void()> job);
  /// Waits for the job at work; jobs that have not begun stay undone until the worker is destroyed.
  void stop();

 private:
  void run();

  const size_t jobs_max_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::move_only_function<void()>> jobs_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace troupe
