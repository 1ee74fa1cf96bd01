// How long a step may take before its generation counts as dead: clamp(8 x p99 of steps like it, 1
// s, 2 s). Steps are alike when their rows lie in the same power of two. Pure; owned by one
// Batcher.
#pragma once

#include <array>
#include <cstdint>

#include "config/time.h"

namespace troupe {

/// The last kSamples durations of something.
class RecentDurations {
 public:
  static constexpr int kSamples = 128;
  void add(Duration duration);
  int count() const { return count_; }
  /// Of the samples kept; 0 without any.
  Duration p99() const;

 private:
  std::array<Duration, kSamples> samples_{};
  int count_ = 0, next_ = 0;
};

class StepDeadline {
 public:
  explicit StepDeadline(double timing_scale) : timing_scale_(timing_scale) {}
  void finished(int32_t rows, Duration took);
  /// The longest allowed until a class has kStepSamplesMin steps: the first ones warm up caches and
  /// allocators.
  Duration limit(int32_t rows) const;
  Duration p99() const { return all_.p99(); }

 private:
  static size_t class_of(int32_t rows);
  double timing_scale_;
  std::array<RecentDurations, 14> classes_;  ///< 1, 2-3, 4-7, ... up to kRowsPerStepMax and beyond
  RecentDurations all_;
};

}  // namespace troupe
