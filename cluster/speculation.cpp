#include "cluster/speculation.h"

#include <algorithm>

#include "config/limits.h"

namespace troupe {

namespace {

constexpr double kRate = 1.0 / 32;
/// A plan with drafts cannot wait behind another, and the estimates err: it must pay clearly.
constexpr double kMargin = 1.25;

}  // namespace

void Speculation::saw(int32_t match_length, Drawing drawing, bool right) {
  Chance& chance = chances_[static_cast<size_t>(drawing)][index(match_length)];
  if (chance.seen < kDraftTrialsMin) ++chance.seen;
  // A plain mean at first, then old answers fade.
  const double rate = std::max(kRate, 1.0 / chance.seen);
  chance.right += rate * ((right ? 1 : 0) - chance.right);
}

int32_t Speculation::drafts(int32_t match_length, Drawing drawing, double extra_row_cost) const {
  if (match_length < DraftIndex::kLengthMin) return 0;
  const auto& chances = chances_[static_cast<size_t>(drawing)];
  double all_right = 1;
  int32_t count = 0;
  for (; count < kDraftsMax; ++count) {
    // Behind a draft that was right the match is longer by one.
    const Chance& chance = chances[index(std::min(match_length + count, DraftIndex::kLengthMax))];
    if (chance.seen < kDraftTrialsMin) break;
    all_right *= chance.right;
    if (all_right < kMargin * extra_row_cost) break;
  }
  return count;
}

}  // namespace troupe
