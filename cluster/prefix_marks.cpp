#include "cluster/prefix_marks.h"

#include <algorithm>
#include <cstring>

#include "cache/prefix_index.h"
#include "config/limits.h"
#include "model/step.h"

namespace troupe {

PrefixMark mark_of(const Digest& key) {
  PrefixMark mark = 0;
  std::memcpy(&mark, key.data(), sizeof mark);
  return mark;
}

std::vector<PrefixMark> prefix_marks(const Digest& numerics_id, const Salt& tenant,
                                     std::span<const TokenId> prompt) {
  const size_t blocks = std::min(prompt.size() / kBlockPositions, kAffinityBlocks);
  std::vector<PrefixMark> marks;
  marks.reserve(blocks);
  Digest key = PrefixIndex::root(numerics_id, 0, tenant);
  for (size_t block = 0; block < blocks; ++block) {
    key = PrefixIndex::extend(key, prompt.subspan(block * kBlockPositions, kBlockPositions));
    marks.push_back(mark_of(key));
  }
  return marks;
}

std::span<const PrefixMark> PromptMarks::under(const Digest& numerics_id, const Salt& tenant,
                                               std::span<const TokenId> prompt) {
  for (const auto& [id, marks] : known_)
    if (id == numerics_id) return marks;
  return known_.emplace_back(numerics_id, prefix_marks(numerics_id, tenant, prompt)).second;
}

}  // namespace troupe
