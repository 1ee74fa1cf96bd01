// What every Partition checks of a plan before it touches any memory: the batcher alone decides, so
// a plan that breaks these rules is a bug of the batcher or of the data plane, and must end the
// generation rather than read another sequence's KV. Owned by one Partition; same thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/result.h"
#include "model/partition.h"
#include "model/step.h"

namespace troupe {

class PlanCheck {
 public:
  PlanCheck() = default;
  /// `lanes`: stages of the group's pipeline.
  PlanCheck(const Budget& budget, int32_t vocab, int32_t lanes = 1);

  /// Order of keys, slots opened and closed, tables that cover their rows, blocks, tokens, drafts
  /// and references in range, no block written by two slices. The error (internal) says which slice
  /// and what. Remembers the plan as its lane's last one when it is sound. Call it in the order of
  /// steps, and after produced() of the plan before in its lane. Allocates nothing once warm.
  Result<void> admit(const StepPlan& plan);
  /// The lane's last plan has its answer, or there is none. Also of a lane that does not exist:
  /// admit() says so.
  bool answered(uint32_t lane) const { return lane >= lanes_.size() || !lanes_[lane].waits; }
  /// Whether an output that came from another rank answers its lane's last plan: its slices, with
  /// tokens of the vocabulary and no more of them than asked for. data_loss if not.
  Result<void> check_answer(const StepOutput& output) const;
  /// After each step: which slices of `output` may be referred to by the next plan of the lane, and
  /// where slices with drafts go on.
  void produced(const StepOutput& output);

  /// Literal token ids of the plan's rows: references replaced by what the lane's previous step
  /// sampled.
  /// Only for an admitted plan; valid until the next call.
  const std::vector<int32_t>& resolved_tokens(const StepPlan& plan);

 private:
  Result<void> check_key(const StepPlan& plan) const;
  Result<void> check_slots(const StepPlan& plan);
  Result<void> check_slice(const StepPlan& plan, const Slice& slice) const;
  Result<void> check_drafts(const StepPlan& plan, const Slice& slice) const;
  Result<void> check_outputs(const StepPlan& plan, const Slice& slice) const;
  Result<void> check_copies(const StepPlan& plan);
  Result<void> check_blocks(const StepPlan& plan);
  bool is_block(int32_t block) const { return block >= 0 && block < budget_.kv_blocks; }

  struct Slot {
    bool open = false;
    int32_t next_position = -1;  ///< where its next slice must start; -1 before the first
    uint64_t named = 0;          ///< the last check whose plan had a slice of it
  };
  Budget budget_;
  int32_t vocab_ = 0;
  std::vector<Slot> slots_;
  std::vector<uint64_t> written_;  ///< by block: the last check whose plan writes it
  uint64_t checks_ = 0;            ///< marks in named and written_ are of this check if equal to it
  bool started_ = false;
  StepKey last_key_;  ///< of all lanes
  /// A slice of a plan, as far as its answer is concerned.
  struct Asked {
    int32_t slot = 0, rows = 0;  ///< output rows
    int32_t draft_from = -1;     ///< position of its first drawn token; -1: it has no drafts
    Out out = Out::none;
  };
  struct Lane {
    uint64_t last_hash = 0;
    bool waits = false;  ///< its last plan has no answer yet
    std::vector<Asked> asked;
    std::vector<int32_t> drawn;  ///< by slice r of the last output; -1: not to be referred to
  };
  std::vector<Lane> lanes_;
  std::vector<int32_t> resolved_;
};

}  // namespace troupe
