// Plans and outputs as they travel between the ranks of a group: one run of bytes each. What
// arrives is not trusted: every count and offset is checked before memory is taken for it, and what
// a plan means is still PlanCheck's to judge. Pure.
//
// All numbers little-endian: u32 magic, u32 bytes in all, then fields in the order of the structs;
// a vector is a u32 count and its items.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "config/result.h"
#include "model/step.h"

namespace troupe {

/// Replaces what is in `bytes`; allocates nothing once it was as big before.
void to_bytes(const StepPlan& plan, std::vector<std::byte>& bytes);
void to_bytes(const StepOutput& output, std::vector<std::byte>& bytes);

/// The most bytes that an answer to `plan` can have, whatever its slots want.
size_t answer_bytes_max(const StepPlan& plan);

/// data_loss unless `bytes` are exactly one plan (output) of this format: then `into`, whose
/// vectors are reused, is it. After an error `into` is some mixture.
Result<void> parse_step(std::span<const std::byte> bytes, StepPlan& into);
Result<void> parse_step(std::span<const std::byte> bytes, StepOutput& into);

/// The part of an output that other ranks need to follow the next plan: what was drawn, without
/// log-probabilities. `into` is reused.
void keep_drawn(const StepOutput& output, StepOutput& into);

}  // namespace troupe
