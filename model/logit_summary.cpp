#include "model/logit_summary.h"

#include <algorithm>

#include "config/check.h"

namespace troupe {

void largest_logits(std::span<const float> logits, int32_t first_id, std::span<TokenLogprob> top) {
  TROUPE_CHECK(top.size() <= logits.size(), top.size(), logits.size());
  if (top.empty()) return;
  // A heap with the worst on top.
  for (size_t i = 0; i < top.size(); ++i) top[i] = {first_id + static_cast<int32_t>(i), logits[i]};
  std::make_heap(top.begin(), top.end(), walks_before);
  for (size_t i = top.size(); i < logits.size(); ++i) {
    // Ids ascend, so an equal logit never displaces one that is in.
    if (logits[i] <= top.front().logprob) continue;
    std::pop_heap(top.begin(), top.end(), walks_before);
    top.back() = {first_id + static_cast<int32_t>(i), logits[i]};
    std::push_heap(top.begin(), top.end(), walks_before);
  }
  std::sort_heap(top.begin(), top.end(), walks_before);
}

void block_sums(std::span<const float> logits, std::span<BlockSum> sums) {
  for (size_t block = 0; block < sums.size(); ++block) {
    const size_t begin = block * kLogprobBlock;
    sums[block] =
        exact_block_sum(logits.subspan(begin, std::min(kLogprobBlock, logits.size() - begin)));
  }
}

void keep_largest(std::vector<TokenLogprob>& top, int32_t count) {
  const size_t kept = std::min(static_cast<size_t>(count), top.size());
  std::partial_sort(top.begin(), top.begin() + static_cast<ptrdiff_t>(kept), top.end(),
                    walks_before);
  top.resize(kept);
}

}  // namespace troupe
