// From what the device answered to what a router is told: appends the drawn token, decides whether
// the answer ends. Pure functions of the batcher.
#pragma once

#include "cluster/messages.h"
#include "cluster/sequence.h"
#include "config/result.h"
#include "model/step.h"

namespace troupe {

/// An output that does not answer its plan is a fault of the generation: `internal`. Non-finite
/// logits likewise.
Result<void> check_output(const StepPlan& plan, const StepOutput& output, int32_t vocab);

/// Applies slice `i` to its sequence (whose `computed` is already advanced). The chunk is worth
/// sending if it has a token or a finish.
TokenChunk apply_output(Sequence& sequence, const StepPlan& plan, const StepOutput& output,
                        size_t i, Time now);

/// What is known without any step: an answer that is complete as it came.
Finish finish_of(const Sequence& sequence);

}  // namespace troupe
