// Turns an Enqueue into a Sequence, or says why it can never run here. Pure functions of the
// batcher.
#pragma once

#include <cstdint>

#include "cluster/sequence.h"
#include "config/result.h"

namespace troupe {

struct IntakeLimits {
  int32_t context = 0;  ///< tokens of prompt and answer
  int32_t vocab = 0;
  int32_t positions_max = 0;  ///< that the KV pool holds when one sequence has it alone
};

/// The deadline counts from `now`. Refuses with invalid_argument (empty or too long prompt, tokens
/// outside the vocabulary, scoring of a continued answer) or too_large (more KV than the group
/// has).
Result<Sequence> take_in(Enqueue request, RouterId router, uint64_t arrival, Time now,
                         const IntakeLimits& limits);

/// Whether attempt `a` of a sequence was placed after attempt `b`. Counters of different router
/// lives do not compare; there a higher owner epoch is the later one.
bool is_newer(const AttemptId& a, const AttemptId& b);

}  // namespace troupe
