// Brings what the ranks of the last stage found of some rows to the head rank: of every row the
// largest logit, and where a draw needs more than that, all logits. Owned by one NativePartition;
// its thread calls. Allocates nothing once warm.
#pragma once

#include <cstdint>
#include <vector>

#include "config/result.h"
#include "model/native/head.h"
#include "model/partition_plan.h"
#include "model/rank_group.h"

namespace troupe::native {

class HeadGather {
 public:
  HeadGather() = default;
  /// `vocab`: the ids of each tensor parallel rank.
  HeadGather(RankGroup& group, std::vector<RowRange> vocab)
      : group_(&group), vocab_(std::move(vocab)) {}

  /// For the first `rows` rows of the last compute() of `head`; wants_all(row) says whether all its
  /// logits are needed, and says the same on every rank. On the head rank they are in `head` then.
  template <class WantsAll>
  Result<void> run(Head& head, int32_t rows, WantsAll wants_all) {
    wanted_.clear();
    for (int32_t row = 0; row < rows; ++row)
      if (wants_all(row)) wanted_.push_back(row);
    return group_->draws() ? take(head, rows) : give(head, rows);
  }

 private:
  Result<void> give(Head& head, int32_t rows);
  Result<void> take(Head& head, int32_t rows);

  RankGroup* group_ = nullptr;
  std::vector<RowRange> vocab_;
  std::vector<int32_t> wanted_;
  std::vector<Head::Best> bests_;
};

}  // namespace troupe::native
