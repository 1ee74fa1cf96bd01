// Whether drafts pay, and how many. Every token of every answer says whether the draft index would
// have foretold it, drafted or not: so the measurement costs nothing, never stops, and finds out by
// itself when drafts begin or cease to pay. Pure; owned by one Batcher.
//
// A draft pays when its chance to be right is above what its row adds to the step, as a part of
// what a token costs without drafts (StepBudget::extra_row_cost). Its chance is that of all drafts
// before it and its own.
#pragma once

#include <array>
#include <cstdint>

#include "cluster/draft_index.h"

namespace troupe {

/// A greedy answer repeats itself more often than a drawn one.
enum class Drawing : uint8_t { greedy, random };

class Speculation {
 public:
  /// A match of this length foretold the token that came, or did not.
  void saw(int32_t match_length, Drawing drawing, bool right);
  /// Drafts that pay for a sequence with this match, 0 to kDraftsMax.
  int32_t drafts(int32_t match_length, Drawing drawing, double extra_row_cost) const;

  /// For the figures: what was put to the test in a step.
  void tested(int32_t drafted, int32_t right) {
    drafted_ += static_cast<uint64_t>(drafted);
    right_ += static_cast<uint64_t>(right);
  }
  uint64_t drafted() const { return drafted_; }
  uint64_t right() const { return right_; }

 private:
  struct Chance {
    double right = 0;
    int32_t seen = 0;  ///< until kDraftTrialsMin
  };
  static constexpr size_t kLengths = DraftIndex::kLengthMax - DraftIndex::kLengthMin + 1;
  static size_t index(int32_t match_length) {
    return static_cast<size_t>(match_length - DraftIndex::kLengthMin);
  }
  std::array<std::array<Chance, kLengths>, 2> chances_;
  uint64_t drafted_ = 0, right_ = 0;
};

}  // namespace troupe
