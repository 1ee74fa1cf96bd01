// Brings what the ranks of the last stage found of some rows to the head rank: of every row the
// largest logit, and where the answer needs more than that, a summary of each rank's logits or all
// of them. Owned by one NativePartition; its thread calls, the pool sums up. Allocates nothing once
// warm.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "model/logit_summary.h"
#include "model/native/head.h"
#include "model/native/thread_pool.h"
#include "model/partition_plan.h"
#include "model/rank_group.h"

namespace troupe::native {

class HeadGather {
 public:
  HeadGather() = default;
  /// `vocab`: the ids of each tensor parallel rank.
  HeadGather(RankGroup& group, ThreadPool& pool, std::vector<RowRange> vocab)
      : group_(&group), pool_(&pool), vocab_(std::move(vocab)) {}

  /// For the first `rows` rows of the last compute() of `head`; needs_of(row) says the same on
  /// every rank. On the head rank all logits of the rows that need them are in `head` then.
  template <class NeedsOf>
  Result<void> run(Head& head, int32_t rows, NeedsOf needs_of) {
    needs_.clear();
    for (int32_t row = 0; row < rows; ++row) needs_.push_back(needs_of(row));
    return group_->draws() ? take(head) : give(head);
  }
  /// Head rank: of each row; empty where the row needs none. Valid until the next run().
  std::span<const LogitSummary> summaries() const { return summaries_; }

 private:
  /// What one rank's message says of a row, with its offsets in bytes.
  struct Part {
    size_t offset = 0;
    int32_t top = 0, sums = 0;
    bool scored = false;
  };
  struct Sum {
    float max = 0, sum = 0;
  };
  /// What a head rank knows of a row.
  struct Known {
    std::vector<TokenLogprob> top;
    std::vector<BlockSum> blocks;
    float scored = 0;
  };

  Result<void> give(Head& head);
  Result<void> take(Head& head);
  size_t lay_out(const RowRange& ids);  ///< parts_ of a message; returns its size
  void sum_up(const Head& head, const RowRange& ids, int32_t row, std::byte* to) const;
  void add(const Part& part, const std::byte* from, Known& known) const;

  RankGroup* group_ = nullptr;
  ThreadPool* pool_ = nullptr;
  std::vector<RowRange> vocab_;
  std::vector<RowNeeds> needs_;
  std::vector<Part> parts_;
  std::vector<std::byte> message_;
  std::vector<Known> known_;
  std::vector<LogitSummary> summaries_;
};

}  // namespace troupe::native
