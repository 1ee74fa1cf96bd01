// Time as a value. Machines are given the time; only shells (actors/, app/, net/) read a clock.
#pragma once

#include <chrono>
#include <cstdint>

namespace troupe {

/// Signed nanoseconds.
using Duration = std::chrono::nanoseconds;

/// A monotonic time line without a now(): what its zero means is the caller's affair (steady clock
/// in the shells, virtual time in tests), so times never cross a process boundary; durations do.
struct MonotonicTimeline {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonotonicTimeline>;
  static constexpr bool is_steady = true;
};
using Time = MonotonicTimeline::time_point;

using std::chrono_literals::operator""ns;
using std::chrono_literals::operator""us;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

constexpr double to_seconds(Duration d) { return std::chrono::duration<double>(d).count(); }
constexpr int64_t to_ms(Duration d) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
}
/// `d` stretched by `factor`, to the nanosecond below.
constexpr Duration scaled(Duration d, double factor) {
  return Duration(static_cast<int64_t>(static_cast<double>(d.count()) * factor));
}

}  // namespace troupe
