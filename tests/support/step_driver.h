// Builds step plans by hand for tests of a Partition, without a batcher: keys and hashes are kept
// in order.
#pragma once

#include <cstdint>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include "model/partition.h"

namespace troupe::test {

/// One slice in words.
struct Piece {
  int32_t slot = 0, pos0 = 0;
  std::vector<int32_t> tokens;  ///< negative: as in Slice::tok_off
  std::vector<int32_t> table;
  Out out = Out::sample;
  int32_t out_row0 = -1;         ///< -1: the last row that is no draft, and the drafts
  std::vector<int32_t> score{};  ///< Out::score
  int32_t n_draft = 0;           ///< the last tokens are drafts
};

class StepDriver {
 public:
  explicit StepDriver(Partition& partition) : partition_(partition) {}

  StepPlan plan;  ///< of the next run(); tests may bend it

  StepDriver& open(SlotOpen slot) {
    plan.open.push_back(std::move(slot));
    return *this;
  }
  StepDriver& close(int32_t slot) {
    plan.close.push_back(slot);
    return *this;
  }
  StepDriver& copy(int32_t src, int32_t dst) {
    plan.copy.push_back({src, dst});
    return *this;
  }
  StepDriver& add(const Piece& piece) {
    Slice slice;
    slice.slot = piece.slot;
    slice.pos0 = piece.pos0;
    slice.n_rows = static_cast<int32_t>(piece.tokens.size());
    slice.tok_off = static_cast<int32_t>(plan.tokens.size());
    slice.blk_off = static_cast<int32_t>(plan.blocks.size());
    slice.n_blk = static_cast<int32_t>(piece.table.size());
    slice.out = piece.out;
    slice.n_draft = piece.n_draft;
    slice.out_row0 = piece.out_row0 >= 0 ? piece.out_row0 : slice.n_rows - 1 - slice.n_draft;
    slice.score_off = static_cast<int32_t>(plan.score.size());
    plan.tokens.insert(plan.tokens.end(), piece.tokens.begin(), piece.tokens.end());
    plan.blocks.insert(plan.blocks.end(), piece.table.begin(), piece.table.end());
    plan.score.insert(plan.score.end(), piece.score.begin(), piece.score.end());
    plan.slices.push_back(slice);
    return *this;
  }
  /// Names and hashes the plan, so that it follows the one before of its lane.
  StepPlan seal(uint32_t lane = 0) {
    uint64_t& last = last_hash_[lane];
    plan.key = {.epoch = 1, .generation = 1, .lane = lane, .step = step_++, .prev_hash = last};
    plan.hash = last = hash_of(plan);
    return std::exchange(plan, StepPlan{});
  }
  Result<StepOutput> run(Duration timeout = 60s) { return submit(seal(), timeout); }
  Result<StepOutput> submit(const StepPlan& sealed, Duration timeout = 60s) {
    return receive(send(sealed), timeout);
  }
  /// The plan must outlive the receive().
  Ticket send(const StepPlan& sealed) { return partition_.submit(sealed); }
  Result<StepOutput> receive(Ticket ticket, Duration timeout = 60s) {
    const auto output = partition_.wait(ticket, timeout);
    if (!output) return std::unexpected(output.error());
    return **output;
  }

 private:
  Partition& partition_;
  uint64_t step_ = 1;
  std::map<uint32_t, uint64_t> last_hash_;  ///< by lane
};

/// Blocks first, first + 1, ... enough for `positions`.
inline std::vector<int32_t> table_from(int32_t first, size_t positions) {
  std::vector<int32_t> table((positions + kBlockPositions - 1) / kBlockPositions);
  std::iota(table.begin(), table.end(), first);
  return table;
}

}  // namespace troupe::test
