// The plans a device has and has not answered yet, of all lanes, oldest first. Knows since when the
// oldest runs and when it is overdue. Pure; owned by one Batcher.
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
  /// It goes through the pipeline alone, not behind a plan of another lane.
  bool alone = true;
  Time started{};    ///< of the oldest: when the one before it was done
  Duration limit{};  ///< from then on

  int32_t lane() const { return static_cast<int32_t>(plan->key.lane); }
};

class Flights {
 public:
  void start(Flight flight);
  /// The oldest, which `output` answers, and the time of the next one begins; nullopt and no change
  /// when it answers anything else.
  std::optional<Flight> land(Time now, const StepOutput* output);
  void clear() { flights_.clear(); }

  bool empty() const { return flights_.empty(); }
  int32_t size() const { return static_cast<int32_t>(flights_.size()); }
  const Flight& oldest() const { return flights_.front(); }
  const Flight& newest() const { return flights_.back(); }
  int32_t in_lane(int32_t lane) const;
  /// There must be one.
  const Flight& newest_of(int32_t lane) const;
  bool has(const StepKey& key) const;
  /// When the oldest has taken too long.
  std::optional<Time> deadline() const;
  /// How many of them name the sequence.
  int32_t naming(const Sequence& sequence) const;

  /// Aborts unless there are at most `lane_max` of each of `lanes` lanes and one more than one for
  /// each, each of at most `rows_max` rows, and `schedule` still holds all they name.
  void check(const Schedule& schedule, int32_t lanes, int32_t lane_max, int32_t rows_max) const;

 private:
  std::vector<Flight> flights_;
};

}  // namespace troupe
