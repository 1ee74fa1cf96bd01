// What some draws and scores need of a row's logits in place of all: the largest few, and a sum for
// each block of N14 (docs/performance.md). Each rank that has ids makes it of its own; together
// they give the bits that all logits give. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/exact_math.h"
#include "model/step.h"

namespace troupe {

/// What the answer of one output row needs.
struct RowNeeds {
  enum class Of : uint8_t {
    largest,  ///< the largest logit alone
    summary,  ///< what the fields below say
    all,
  };
  Of of = Of::largest;
  int32_t top = 0;      ///< so many of the largest logits
  bool sums = false;    ///< of blocks
  int32_t scored = -1;  ///< a token whose logit is wanted; -1: none
};

/// Of all ids. Raw logits stand in TokenLogprob::logprob.
struct LogitSummary {
  std::span<const TokenLogprob> top;  ///< as walked: the largest first, ties to the lowest id
  std::span<const BlockSum> blocks;   ///< in order of ids
  float scored = 0;
};

/// The order of LogitSummary::top.
inline bool walks_before(const TokenLogprob& a, const TokenLogprob& b) {
  return a.logprob != b.logprob ? a.logprob > b.logprob : a.token < b.token;
}

/// The `top.size()` largest of `logits`, which has at least as many and begins at `first_id`; in
/// order.
void largest_logits(std::span<const float> logits, int32_t first_id, std::span<TokenLogprob> top);

/// Of each block of kLogprobBlock logits, the last of which may be shorter.
void block_sums(std::span<const float> logits, std::span<BlockSum> sums);

/// Leaves the first `count` of what several ranks gave, in order.
void keep_largest(std::vector<TokenLogprob>& top, int32_t count);

}  // namespace troupe
