#include "model/plan_check.h"

#include <algorithm>
#include <unordered_set>

namespace troupe {

namespace {

std::unexpected<Error> broken(const std::string& what) {
  return fail(ErrorCode::internal, "The step plan is broken: " + what +
                                       ". The generation ends here; report this with the log.");
}

std::string text(int64_t value) { return std::to_string(value); }

bool within(int64_t offset, int64_t count, size_t size) {
  return offset >= 0 && count >= 0 && offset + count <= static_cast<int64_t>(size);
}

}  // namespace

PlanCheck::PlanCheck(const Budget& budget, int32_t vocab) : budget_(budget), vocab_(vocab) {}

Result<void> PlanCheck::admit(const StepPlan& plan) {
  if (auto ok = check_key(plan); !ok) return ok;
  if (auto ok = check_slots(plan); !ok) return ok;
  int64_t rows = 0;
  std::unordered_set<int32_t> slots;
  for (const Slice& slice : plan.slices) {
    if (auto ok = check_slice(plan, slice); !ok) return ok;
    if (auto ok = check_outputs(plan, slice); !ok) return ok;
    if (!slots.insert(slice.slot).second)
      return broken("slot " + text(slice.slot) + " stands in two slices");
    rows += slice.n_rows;
  }
  if (rows > budget_.max_rows)
    return broken(text(rows) + " rows are more than the " + text(budget_.max_rows) + " allowed");
  if (auto ok = check_blocks(plan); !ok) return ok;
  for (const Slice& slice : plan.slices)
    open_[slice.slot].next_position = slice.pos0 + slice.n_rows;
  started_ = true;
  last_key_ = plan.key;
  last_hash_ = plan.hash;
  return {};
}

Result<void> PlanCheck::check_key(const StepPlan& plan) const {
  if (plan.hash != hash_of(plan)) return broken("its hash does not fit its contents");
  if (plan.key.lane != 0)
    return broken("lane " + text(plan.key.lane) + " of a group with one lane");
  if (plan.bidirectional) return broken("bidirectional attention of a decoder");
  if (!started_) return {};
  if (plan.key.epoch != last_key_.epoch || plan.key.generation != last_key_.generation)
    return broken("its epoch or generation differs from the plan before");
  if (plan.key.step != last_key_.step + 1)
    return broken("step " + text(static_cast<int64_t>(plan.key.step)) + " follows step " +
                  text(static_cast<int64_t>(last_key_.step)));
  if (plan.key.prev_hash != last_hash_)
    return broken("prev_hash is not the hash of the plan before");
  return {};
}

Result<void> PlanCheck::check_slots(const StepPlan& plan) {
  for (int32_t slot : plan.close)
    if (open_.erase(slot) == 0) return broken("closes slot " + text(slot) + ", which is not open");
  for (const SlotOpen& open : plan.open) {
    if (open.slot < 0 || open.slot >= budget_.max_slots)
      return broken("opens slot " + text(open.slot) + " of " + text(budget_.max_slots));
    if (!open_.emplace(open.slot, Slot{}).second)
      return broken("opens slot " + text(open.slot) + ", which is open already");
    if (open.adapter != 0 || open.grammar != 0)
      return broken("slot " + text(open.slot) +
                    " asks for an adapter or grammar, and there is none");
    const auto outside = [&](int32_t token) { return token < 0 || token >= vocab_; };
    for (auto [token, value] : open.bias)
      if (outside(token)) return broken("bias for token " + text(token) + ", which does not exist");
    if (std::any_of(open.history.begin(), open.history.end(), outside))
      return broken("the history of slot " + text(open.slot) +
                    " holds a token that does not exist");
  }
  return {};
}

Result<void> PlanCheck::check_slice(const StepPlan& plan, const Slice& slice) const {
  const std::string who = "slot " + text(slice.slot) + " ";
  const auto slot = open_.find(slice.slot);
  if (slot == open_.end()) return broken(who + "is not open");
  if (slice.n_rows < 1 || slice.pos0 < 0) return broken(who + "has no rows or a negative position");
  if (slice.n_draft != 0) return broken(who + "has speculative rows, and none are served");
  const int64_t end = int64_t{slice.pos0} + slice.n_rows;
  if (end > budget_.context)
    return broken(who + "reaches position " + text(end) + " of " + text(budget_.context));
  const int32_t expected = slot->second.next_position;
  if (expected >= 0 && slice.pos0 != expected)
    return broken(who + "goes on at position " + text(slice.pos0) + " instead of " +
                  text(expected));
  if (!within(slice.blk_off, slice.n_blk, plan.blocks.size()))
    return broken(who + "has a block table outside the plan");
  if (int64_t{slice.n_blk} * kBlockPositions < end)
    return broken(who + "has " + text(slice.n_blk) + " blocks for " + text(end) + " positions");
  for (int32_t i = 0; i < slice.n_blk; ++i) {
    const int32_t block = plan.blocks[static_cast<size_t>(slice.blk_off + i)];
    if (block < 0 || block >= budget_.kv_blocks)
      return broken(who + "names block " + text(block) + " of " + text(budget_.kv_blocks));
  }
  if (!within(slice.tok_off, slice.n_rows, plan.tokens.size()))
    return broken(who + "has tokens outside the plan");
  for (int32_t i = 0; i < slice.n_rows; ++i) {
    const int32_t token = plan.tokens[static_cast<size_t>(slice.tok_off + i)];
    if (token >= vocab_)
      return broken(who + "feeds token " + text(token) + ", which does not exist");
    if (token >= 0) continue;
    const auto row = static_cast<size_t>(-1 - int64_t{token});
    if (row >= last_tokens_.size() || last_tokens_[row] < 0)
      return broken(who + "refers to slice " + text(static_cast<int64_t>(row)) +
                    " of the step before, which sampled nothing");
  }
  return {};
}

Result<void> PlanCheck::check_outputs(const StepPlan& plan, const Slice& slice) const {
  const std::string who = "slot " + text(slice.slot) + " ";
  if (slice.out == Out::pooled) return broken(who + "wants pooled output of a decoder");
  if (slice.out_row0 < 0 || slice.out_row0 > slice.n_rows)
    return broken(who + "wants output from row " + text(slice.out_row0) + " of " +
                  text(slice.n_rows));
  if (slice.out != Out::score) return {};
  const int32_t wanted = slice.n_rows - slice.out_row0;
  if (!within(slice.score_off, wanted, plan.score.size()))
    return broken(who + "has score tokens outside the plan");
  for (int32_t i = 0; i < wanted; ++i) {
    const int32_t token = plan.score[static_cast<size_t>(slice.score_off + i)];
    if (token < 0 || token >= vocab_)
      return broken(who + "scores token " + text(token) + ", which does not exist");
  }
  return {};
}

Result<void> PlanCheck::check_blocks(const StepPlan& plan) const {
  for (const BlockCopy& copy : plan.copy)
    for (int32_t block : {copy.src, copy.dst})
      if (block < 0 || block >= budget_.kv_blocks)
        return broken("copies block " + text(block) + " of " + text(budget_.kv_blocks));
  // Written blocks must belong to one slice alone in this step: nobody else may even read them.
  std::unordered_map<int32_t, size_t> writer;
  const auto first_written = [](const Slice& s) { return s.pos0 / kBlockPositions; };
  const auto end_written = [](const Slice& s) {
    return (s.pos0 + s.n_rows - 1) / kBlockPositions + 1;
  };
  for (size_t i = 0; i < plan.slices.size(); ++i) {
    const Slice& slice = plan.slices[i];
    for (int32_t b = first_written(slice); b < end_written(slice); ++b) {
      const int32_t block = plan.blocks[static_cast<size_t>(slice.blk_off + b)];
      if (!writer.emplace(block, i).second)
        return broken("block " + text(block) + " is written twice in one step");
    }
  }
  for (size_t i = 0; i < plan.slices.size(); ++i) {
    const Slice& slice = plan.slices[i];
    for (int32_t b = 0; b < first_written(slice); ++b) {
      const int32_t block = plan.blocks[static_cast<size_t>(slice.blk_off + b)];
      if (writer.contains(block))
        return broken("block " + text(block) + " is read by slot " + text(slice.slot) +
                      " and written in the same step");
    }
  }
  return {};
}

void PlanCheck::produced(const StepOutput& output) {
  last_tokens_.clear();
  for (const SliceOut& slice : output.slices)
    last_tokens_.push_back(
        slice.n_tokens == 0
            ? -1
            : output.tokens[static_cast<size_t>(slice.tok_off + slice.n_tokens - 1)]);
}

std::vector<int32_t> PlanCheck::resolved_tokens(const StepPlan& plan) const {
  std::vector<int32_t> tokens = plan.tokens;
  for (int32_t& token : tokens)
    if (token < 0) {
      const auto row = static_cast<size_t>(-1 - int64_t{token});
      // Tokens that no slice names are not checked and not read.
      token = row < last_tokens_.size() ? last_tokens_[row] : 0;
    }
  return tokens;
}

}  // namespace troupe
