#include "cluster/step_deadline.h"

#include <algorithm>
#include <bit>

#include "config/limits.h"

namespace troupe {

void RecentDurations::add(Duration duration) {
  samples_[static_cast<size_t>(next_)] = duration;
  next_ = (next_ + 1) % kSamples;
  count_ = std::min(count_ + 1, kSamples);
}

Duration RecentDurations::p99() const {
  if (count_ == 0) return Duration{};
  auto sorted = samples_;
  const auto end = sorted.begin() + count_;
  const auto at = sorted.begin() + (count_ * 99 - 1) / 100;
  std::nth_element(sorted.begin(), at, end);
  return *at;
}

size_t StepDeadline::class_of(int32_t rows) {
  const auto log2 = static_cast<size_t>(std::bit_width(static_cast<uint32_t>(rows)));
  return std::min<size_t>(log2, 13);
}

void StepDeadline::finished(int32_t rows, Duration took) {
  classes_[class_of(rows)].add(took);
  all_.add(took);
}

Duration StepDeadline::limit(int32_t rows) const {
  const RecentDurations& seen = classes_[class_of(rows)];
  const Duration low = scaled(kStepDeadlineMin, timing_scale_);
  const Duration high = scaled(kStepDeadlineMax, timing_scale_);
  if (seen.count() < kStepSamplesMin) return high;
  return std::clamp(seen.p99() * kStepDeadlineFactor, low, high);
}

}  // namespace troupe
