// The plans a device has and has not answered yet, oldest first. Knows since when the oldest runs
// and when it is overdue. Pure; owned by one Batcher.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cluster/plan_builder.h"
#include "config/time.h"
#include "model/step.h"

namespace troupe {

class Schedule;

struct Flight {
  std::shared_ptr<const StepPlan> plan;
  std::vector<Pick> picks;  ///< by slice; empty: a canary
  int32_t rows = 0, prompt_rows = 0, drafts = 0;
  Time started{};    ///< of the oldest; others wait for it
  Duration limit{};  ///< from then on
};

class Flights {
 public:
  void start(Flight flight) { flights_.push_back(std::move(flight)); }
  /// The oldest, which `output` answers, and the time of the next one begins; nullopt and no change
  /// when it answers anything else.
  std::optional<Flight> land(Time now, const StepOutput* output);
  void clear() { flights_.clear(); }

  bool empty() const { return flights_.empty(); }
  int32_t size() const { return static_cast<int32_t>(flights_.size()); }
  const Flight& oldest() const { return flights_.front(); }
  const Flight& newest() const { return flights_.back(); }
  bool has(const StepKey& key) const;
  /// When the oldest has taken too long.
  std::optional<Time> deadline() const;
  /// How many of them name the sequence.
  int32_t naming(const Sequence& sequence) const;

  /// Aborts unless there are at most `plans_max`, each of at most `rows_max` rows, and `schedule`
  /// still holds all they name.
  void check(const Schedule& schedule, int32_t plans_max, int32_t rows_max) const;

 private:
  std::vector<Flight> flights_;
};

}  // namespace troupe
