// Which ready group gets a new request: the one that would start it soonest, counting prompt blocks
// it probably still holds, what is queued there and whether it is slow. Pure.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "cluster/messages.h"
#include "config/limits.h"

namespace troupe {

struct GroupCandidate {
  GroupId group;
  int64_t cached_tokens = 0;  ///< of the prompt, probably in its KV
  int64_t queued_tokens = 0;  ///< not yet prefilled there
  int32_t sequences = 0;      ///< queued and running there
  bool slow = false;
  bool avoid = false;  ///< the request has just failed there: only if there is no other
};

/// The cheapest; ties go to the lowest group id. nullopt if there is no candidate.
std::optional<GroupId> choose_group(std::span<const GroupCandidate> candidates,
                                    int64_t prompt_tokens);

/// Remembers which prompts went to which group, by a hash chain over their first kAffinityBlocks
/// blocks. A guess of what the group's prefix index holds: wrong guesses cost time, never
/// correctness. Bound: kAffinityEntriesMax a group, oldest out first. Digests reported by the
/// groups themselves can take its place behind cached_tokens().
class PrefixAffinity {
 public:
  explicit PrefixAffinity(size_t entries_max = kAffinityEntriesMax);
  void remember(GroupId group, const Salt& tenant, std::span<const TokenId> prompt);
  /// Length of the longest remembered prefix of whole blocks.
  int64_t cached_tokens(GroupId group, const Salt& tenant, std::span<const TokenId> prompt) const;
  /// Its KV is gone.
  void forget(GroupId group);
  size_t entries(GroupId group) const;

 private:
  struct Memory {
    std::unordered_map<uint64_t, uint32_t> known;  ///< chain hash -> times in `order`
    std::deque<uint64_t> order;
  };
  size_t entries_max_;
  std::map<GroupId, Memory> groups_;
};

}  // namespace troupe
