// Names of prompt blocks that groups tell routers: the mark of a full block is the first 8 bytes of
// its key in a group's prefix index, so it stands for numerics, tenant and every token up to its
// end. Two blocks with one mark would cost a request time, never its tokens: the group itself
// compares whole keys. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "config/ids.h"

namespace troupe {

using PrefixMark = uint64_t;

PrefixMark mark_of(const Digest& key);

/// Of the prompt's full blocks in order, at most kAffinityBlocks.
std::vector<PrefixMark> prefix_marks(const Digest& numerics_id, const Salt& tenant,
                                     std::span<const TokenId> prompt);

/// The marks of one prompt under each numerics id that was asked for; groups of a model may differ
/// in it. Each is computed once, however often the prompt is placed.
class PromptMarks {
 public:
  std::span<const PrefixMark> under(const Digest& numerics_id, const Salt& tenant,
                                    std::span<const TokenId> prompt);

 private:
  std::vector<std::pair<Digest, std::vector<PrefixMark>>> known_;
};

}  // namespace troupe
