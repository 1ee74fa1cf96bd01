#include "cluster/group_choice.h"

#include <algorithm>

#include "config/mix.h"
#include "model/step.h"

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

std::vector<uint64_t> chain(const Salt& tenant, std::span<const TokenId> prompt) {
  uint64_t hash = 0;
  for (uint8_t byte : tenant) hash = mix64(hash, byte);
  const size_t blocks = std::min(prompt.size() / kBlockPositions, kAffinityBlocks);
  std::vector<uint64_t> hashes(blocks);
  for (size_t block = 0; block < blocks; ++block) {
    for (TokenId token : prompt.subspan(block * kBlockPositions, kBlockPositions))
      hash = mix64(hash, static_cast<uint64_t>(token.value));
    hashes[block] = hash;
  }
  return hashes;
}

}  // namespace

std::optional<GroupId> choose_group(std::span<const GroupCandidate> candidates,
                                    int64_t prompt_tokens) {
  const GroupCandidate* best = nullptr;
  const auto rank = [&](const GroupCandidate& candidate) {
    return std::tuple(candidate.avoid, cost_of(candidate, prompt_tokens), candidate.group);
  };
  for (const GroupCandidate& candidate : candidates)
    if (!best || rank(candidate) < rank(*best)) best = &candidate;
  if (!best) return std::nullopt;
  return best->group;
}

PrefixAffinity::PrefixAffinity(size_t entries_max) : entries_max_(entries_max) {}

void PrefixAffinity::remember(GroupId group, const Salt& tenant, std::span<const TokenId> prompt) {
  Memory& memory = groups_[group];
  for (uint64_t hash : chain(tenant, prompt)) {
    ++memory.known[hash];
    memory.order.push_back(hash);
  }
  while (memory.order.size() > entries_max_) {
    const auto oldest = memory.known.find(memory.order.front());
    if (--oldest->second == 0) memory.known.erase(oldest);
    memory.order.pop_front();
  }
}

int64_t PrefixAffinity::cached_tokens(GroupId group, const Salt& tenant,
                                      std::span<const TokenId> prompt) const {
  const auto memory = groups_.find(group);
  if (memory == groups_.end()) return 0;
  int64_t blocks = 0;
  for (uint64_t hash : chain(tenant, prompt)) {
    if (!memory->second.known.contains(hash)) break;
    ++blocks;
  }
  return blocks * kBlockPositions;
}

void PrefixAffinity::forget(GroupId group) { groups_.erase(group); }

size_t PrefixAffinity::entries(GroupId group) const {
  const auto memory = groups_.find(group);
  return memory == groups_.end() ? 0 : memory->second.order.size();
}

}  // namespace troupe
