#include "cache/partial_index.h"

#include <algorithm>

#include "config/check.h"
#include "config/limits.h"

namespace troupe {

void PartialIndex::add(const Digest& prefix, BlockId block, std::span<const TokenId> tokens) {
  TROUPE_CHECK(!tokens.empty() && tokens.size() <= size_t{kTokensMax}, tokens.size());
  TROUPE_CHECK(!holds(block), block);
  std::vector<Entry>& entries = by_prefix_[prefix];
  if (entries.size() >= kPartialsPerPrefix) return;
  Entry entry{.block = block, .count = static_cast<int32_t>(tokens.size())};
  std::ranges::copy(tokens, entry.tokens.begin());
  entries.push_back(entry);
  parent_of_[index(block)] = prefix;
}

void PartialIndex::erase(BlockId block) {
  auto& parent = parent_of_[index(block)];
  if (!parent) return;
  const auto at = by_prefix_.find(*parent);
  std::erase_if(at->second, [&](const Entry& entry) { return entry.block == block; });
  if (at->second.empty()) by_prefix_.erase(at);
  parent.reset();
}

std::optional<PartialIndex::Match> PartialIndex::match(const Digest& prefix,
                                                       std::span<const TokenId> wanted) const {
  const auto at = by_prefix_.find(prefix);
  if (at == by_prefix_.end()) return std::nullopt;
  std::optional<Match> best;
  for (const Entry& entry : at->second) {
    const auto held = std::span(entry.tokens).first(static_cast<size_t>(entry.count));
    const auto agreed = std::ranges::mismatch(held, wanted).in1 - held.begin();
    if (agreed > (best ? best->tokens : 0)) best = Match{entry.block, static_cast<int32_t>(agreed)};
  }
  return best;
}

void PartialIndex::check() const {
  size_t entries = 0;
  for (const auto& [prefix, blocks] : by_prefix_) {
    TROUPE_CHECK(!blocks.empty() && blocks.size() <= kPartialsPerPrefix, blocks.size());
    for (const Entry& entry : blocks)
      TROUPE_CHECK(parent_of_[index(entry.block)] == prefix, entry.block);
    entries += blocks.size();
  }
  const auto held = std::ranges::count_if(parent_of_, [](const auto& p) { return p.has_value(); });
  TROUPE_CHECK(entries == static_cast<size_t>(held), entries, held);
}

}  // namespace troupe
