// Writes down what a step shall do: from chosen sequences and row counts to a StepPlan. Pure
// functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cluster/sequence.h"
#include "model/step.h"

namespace troupe {

/// `rows` rows of this sequence, from its `planned` on; the last `drafts` of them feed guesses.
struct Pick {
  Sequence* sequence = nullptr;
  int32_t rows = 0, drafts = 0;
  bool feeds_prompt = false;  ///< else it draws the next token of an answer
};

/// Rows a pick may have at most: a chunk that scores ends before the prompt's last row, which draws
/// a token and so needs a step of its own.
int32_t rows_possible(const Sequence& sequence);

/// Marks slots as sent and sequences as in flight. A token that the plan before in the lane is
/// going to draw is named by its slice there. `close` are slots the device still has open and
/// nobody uses.
StepPlan build_plan(const StepKey& key, std::span<const Pick> picks, std::vector<int32_t> close);

/// One greedy token from one position on a block and slot that belong to nobody else.
StepPlan build_canary(const StepKey& key, int32_t slot, int32_t block, std::vector<int32_t> close);

}  // namespace troupe
