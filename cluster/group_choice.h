// Which ready group gets a request: one that can go on exactly with the tokens it has, if there is
// one; among these the one that would start it soonest, counting prompt blocks it probably still
// holds, what is queued there and whether it is slow. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "config/ids.h"

namespace troupe {

struct GroupCandidate {
  GroupId group;
  int64_t cached_tokens = 0;  ///< of the prompt, probably in its KV
  int64_t queued_tokens = 0;  ///< not yet prefilled there
  int32_t sequences = 0;      ///< queued and running there
  bool slow = false;
  bool inexact = false;  ///< computes otherwise than what gave the tokens the request has
  bool avoid = false;    ///< the request has just failed there: only if there is no other
};

/// The cheapest; ties go to the lowest group id. nullopt if there is no candidate.
std::optional<GroupId> choose_group(std::span<const GroupCandidate> candidates,
                                    int64_t prompt_tokens);

}  // namespace troupe
