// What every Partition checks of a plan before it touches any memory: the batcher alone decides, so
// a plan that breaks these rules is a bug of the batcher or of the data plane, and must end the
// generation rather than read another sequence's KV. Owned by one Partition; same thread.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "config/result.h"
#include "model/partition.h"
#include "model/step.h"

namespace troupe {

class PlanCheck {
 public:
  PlanCheck() = default;
  PlanCheck(const Budget& budget, int32_t vocab);

  /// Order of keys, slots opened and closed, tables that cover their rows, blocks, tokens and
  /// references in range, no block written by two slices. The error (internal) says which slice and
  /// what. Remembers the plan as the last one when it is sound.
  Result<void> admit(const StepPlan& plan);
  /// After each step: which slices of `output` may be referred to by the next plan of the lane.
  void produced(const StepOutput& output);

  /// Literal token ids of the plan's rows: references replaced by what the previous step sampled.
  /// Only for an admitted plan, before produced().
  std::vector<int32_t> resolved_tokens(const StepPlan& plan) const;

 private:
  Result<void> check_key(const StepPlan& plan) const;
  Result<void> check_slots(const StepPlan& plan);
  Result<void> check_slice(const StepPlan& plan, const Slice& slice) const;
  Result<void> check_outputs(const StepPlan& plan, const Slice& slice) const;
  Result<void> check_blocks(const StepPlan& plan) const;

  struct Slot {
    int32_t next_position = -1;  ///< where its next slice must start; -1 before the first
  };
  Budget budget_;
  int32_t vocab_ = 0;
  std::unordered_map<int32_t, Slot> open_;
  bool started_ = false;
  StepKey last_key_;
  uint64_t last_hash_ = 0;
  std::vector<int32_t> last_tokens_;  ///< of slice r of the previous output; -1 if it sampled none
};

}  // namespace troupe
