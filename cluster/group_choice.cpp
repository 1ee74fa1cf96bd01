#include "cluster/group_choice.h"

#include <algorithm>
#include <tuple>

namespace troupe {
namespace {

// A running sequence delays a new prompt about as much as so many prompt tokens: they share its
// steps.
constexpr int64_t kSequenceCost = 16;
constexpr int64_t kSlowCost = 4;

int64_t cost_of(const GroupCandidate& candidate, int64_t prompt_tokens) {
  const int64_t uncached = std::max<int64_t>(0, prompt_tokens - candidate.cached_tokens);
  const int64_t work = uncached + candidate.queued_tokens + kSequenceCost * candidate.sequences + 1;
  return candidate.slow ? work * kSlowCost : work;
}

}  // namespace

std::optional<GroupId> choose_group(std::span<const GroupCandidate> candidates,
                                    int64_t prompt_tokens) {
  const GroupCandidate* best = nullptr;
  const auto rank = [&](const GroupCandidate& candidate) {
    return std::tuple(candidate.inexact, candidate.avoid, cost_of(candidate, prompt_tokens),
                      candidate.group);
  };
  for (const GroupCandidate& candidate : candidates)
    if (!best || rank(candidate) < rank(*best)) best = &candidate;
  if (!best) return std::nullopt;
  return best->group;
}

}  // namespace troupe
