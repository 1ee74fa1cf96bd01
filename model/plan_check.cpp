#include "model/plan_check.h"

#include <algorithm>
#include <utility>

#include "config/check.h"

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

PlanCheck::PlanCheck(const Budget& budget, int32_t vocab, int32_t lanes)
    : budget_(budget),
      vocab_(vocab),
      slots_(static_cast<size_t>(budget.max_slots)),
      written_(static_cast<size_t>(budget.kv_blocks)),
      lanes_(static_cast<size_t>(lanes)) {}

Result<void> PlanCheck::admit(const StepPlan& plan) {
  if (auto ok = check_key(plan); !ok) return ok;
  if (auto ok = check_slots(plan); !ok) return ok;
  int64_t rows = 0;
  ++checks_;
  for (const Slice& slice : plan.slices) {
    if (auto ok = check_slice(plan, slice); !ok) return ok;
    if (auto ok = check_outputs(plan, slice); !ok) return ok;
    if (auto ok = check_drafts(plan, slice); !ok) return ok;
    if (std::exchange(slots_[static_cast<size_t>(slice.slot)].named, checks_) == checks_)
      return broken("slot " + text(slice.slot) + " stands in two slices");
    rows += slice.n_rows;
  }
  if (rows > budget_.max_rows)
    return broken(text(rows) + " rows are more than the " + text(budget_.max_rows) + " allowed");
  if (auto ok = check_copies(plan); !ok) return ok;
  if (auto ok = check_blocks(plan); !ok) return ok;
  Lane& lane = lanes_[plan.key.lane];
  lane.asked.clear();
  for (const Slice& slice : plan.slices) {
    slots_[static_cast<size_t>(slice.slot)].next_position = slice.pos0 + slice.n_rows;
    lane.asked.push_back({slice.slot, slice.out == Out::none ? 0 : slice.n_rows - slice.out_row0,
                          slice.n_draft == 0 ? -1 : slice.pos0 + slice.out_row0, slice.out});
  }
  lane.last_hash = plan.hash;
  lane.waits = true;
  started_ = true;
  last_key_ = plan.key;
  return {};
}

Result<void> PlanCheck::check_key(const StepPlan& plan) const {
  if (plan.hash != hash_of(plan)) return broken("its hash does not fit its contents");
  if (plan.key.lane >= lanes_.size())
    return broken(
        "lane " + text(plan.key.lane) + " of a group with " +
        (lanes_.size() == 1 ? "one lane" : text(static_cast<int64_t>(lanes_.size())) + " lanes"));
  const Lane& lane = lanes_[plan.key.lane];
  if (lane.waits)
    return broken("lane " + text(plan.key.lane) + " goes on before its last step has an answer");
  if (plan.bidirectional) return broken("bidirectional attention of a decoder");
  if (plan.key.prev_hash != lane.last_hash)
    return broken("prev_hash is not the hash of the plan before");
  if (!started_) return {};
  if (plan.key.epoch != last_key_.epoch || plan.key.generation != last_key_.generation)
    return broken("its epoch or generation differs from the plan before");
  if (plan.key.step != last_key_.step + 1)
    return broken("step " + text(static_cast<int64_t>(plan.key.step)) + " follows step " +
                  text(static_cast<int64_t>(last_key_.step)));
  return {};
}

Result<void> PlanCheck::check_slots(const StepPlan& plan) {
  const auto exists = [&](int32_t slot) { return slot >= 0 && slot < budget_.max_slots; };
  for (int32_t slot : plan.close) {
    if (!exists(slot) || !slots_[static_cast<size_t>(slot)].open)
      return broken("closes slot " + text(slot) + ", which is not open");
    slots_[static_cast<size_t>(slot)] = Slot{};
  }
  for (const SlotOpen& open : plan.open) {
    if (!exists(open.slot))
      return broken("opens slot " + text(open.slot) + " of " + text(budget_.max_slots));
    if (std::exchange(slots_[static_cast<size_t>(open.slot)].open, true))
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
  // Built only when something is wrong.
  const auto who = [&] { return "slot " + text(slice.slot) + " "; };
  if (slice.slot < 0 || slice.slot >= budget_.max_slots ||
      !slots_[static_cast<size_t>(slice.slot)].open)
    return broken(who() + "is not open");
  if (slice.n_rows < 1 || slice.pos0 < 0)
    return broken(who() + "has no rows or a negative position");
  const int64_t end = int64_t{slice.pos0} + slice.n_rows;
  if (end > budget_.context)
    return broken(who() + "reaches position " + text(end) + " of " + text(budget_.context));
  const int32_t expected = slots_[static_cast<size_t>(slice.slot)].next_position;
  if (expected >= 0 && slice.pos0 != expected)
    return broken(who() + "goes on at position " + text(slice.pos0) + " instead of " +
                  text(expected));
  if (!within(slice.blk_off, slice.n_blk, plan.blocks.size()))
    return broken(who() + "has a block table outside the plan");
  if (int64_t{slice.n_blk} * kBlockPositions < end)
    return broken(who() + "has " + text(slice.n_blk) + " blocks for " + text(end) + " positions");
  for (int32_t i = 0; i < slice.n_blk; ++i) {
    const int32_t block = plan.blocks[static_cast<size_t>(slice.blk_off + i)];
    if (!is_block(block))
      return broken(who() + "names block " + text(block) + " of " + text(budget_.kv_blocks));
  }
  if (!within(slice.tok_off, slice.n_rows, plan.tokens.size()))
    return broken(who() + "has tokens outside the plan");
  for (int32_t i = 0; i < slice.n_rows; ++i) {
    const int32_t token = plan.tokens[static_cast<size_t>(slice.tok_off + i)];
    if (token >= vocab_)
      return broken(who() + "feeds token " + text(token) + ", which does not exist");
    if (token >= 0) continue;
    const auto row = static_cast<size_t>(-1 - int64_t{token});
    const std::vector<int32_t>& drawn = lanes_[plan.key.lane].drawn;
    if (row >= drawn.size() || drawn[row] < 0)
      return broken(who() + "refers to slice " + text(static_cast<int64_t>(row)) +
                    " of the step before, which sampled nothing to refer to");
  }
  return {};
}

Result<void> PlanCheck::check_drafts(const StepPlan& plan, const Slice& slice) const {
  if (slice.n_draft == 0) return {};
  const auto who = [&] { return "slot " + text(slice.slot) + " "; };
  if (slice.n_draft < 0 || slice.n_draft >= slice.n_rows)
    return broken(who() + "has " + text(slice.n_draft) + " drafts in " + text(slice.n_rows) +
                  " rows");
  if (slice.out != Out::sample || slice.out_row0 != slice.n_rows - 1 - slice.n_draft)
    return broken(who() + "has drafts whose rows are not those it samples");
  for (int32_t i = 0; i < slice.n_rows; ++i)
    if (plan.tokens[static_cast<size_t>(slice.tok_off + i)] < 0)
      return broken(who() + "has drafts behind a token that is not known yet");
  return {};
}

Result<void> PlanCheck::check_outputs(const StepPlan& plan, const Slice& slice) const {
  const auto who = [&] { return "slot " + text(slice.slot) + " "; };
  if (slice.out == Out::pooled) return broken(who() + "wants pooled output of a decoder");
  if (slice.out_row0 < 0 || slice.out_row0 > slice.n_rows)
    return broken(who() + "wants output from row " + text(slice.out_row0) + " of " +
                  text(slice.n_rows));
  if (slice.out != Out::score) return {};
  const int32_t wanted = slice.n_rows - slice.out_row0;
  if (!within(slice.score_off, wanted, plan.score.size()))
    return broken(who() + "has score tokens outside the plan");
  for (int32_t i = 0; i < wanted; ++i) {
    const int32_t token = plan.score[static_cast<size_t>(slice.score_off + i)];
    if (token < 0 || token >= vocab_)
      return broken(who() + "scores token " + text(token) + ", which does not exist");
  }
  return {};
}

Result<void> PlanCheck::check_copies(const StepPlan& plan) {
  for (const BlockCopy& copy : plan.copy) {
    for (int32_t block : {copy.src, copy.dst})
      if (!is_block(block))
        return broken("copies block " + text(block) + " of " + text(budget_.kv_blocks));
    for (const BlockCopy& other : plan.copy)
      if (&other != &copy && other.dst == copy.dst)
        return broken("copies two blocks into block " + text(copy.dst));
    for (const BlockCopy& other : plan.copy)
      if (other.dst == copy.src)
        return broken("copies block " + text(copy.src) + " and writes it by a copy");
  }
  return {};
}

Result<void> PlanCheck::check_blocks(const StepPlan& plan) {
  // Written blocks must belong to one slice alone in this step: nobody else may even read them.
  const auto block_of = [&](const Slice& slice, int32_t i) {
    return plan.blocks[static_cast<size_t>(slice.blk_off + i)];
  };
  const auto first_written = [](const Slice& s) { return s.pos0 / kBlockPositions; };
  for (const Slice& slice : plan.slices) {
    const int32_t end = (slice.pos0 + slice.n_rows - 1) / kBlockPositions + 1;
    for (int32_t b = first_written(slice); b < end; ++b) {
      const int32_t block = block_of(slice, b);
      if (std::exchange(written_[static_cast<size_t>(block)], checks_) == checks_)
        return broken("block " + text(block) + " is written twice in one step");
    }
  }
  for (const Slice& slice : plan.slices)
    for (int32_t b = 0; b < first_written(slice); ++b)
      if (written_[static_cast<size_t>(block_of(slice, b))] == checks_)
        return broken("block " + text(block_of(slice, b)) + " is read by slot " + text(slice.slot) +
                      " and written in the same step");
  return {};
}

Result<void> PlanCheck::check_answer(const StepOutput& output) const {
  const auto answers = [&](const SliceOut& s, const Asked& a) {
    const int32_t tokens = a.out == Out::sample ? a.rows : 0;
    // Only drafts may be cut short.
    return s.slot == a.slot && s.n_tokens <= tokens &&
           (s.n_tokens == tokens || (a.draft_from >= 0 && s.n_tokens > 0)) &&
           within(s.tok_off, s.n_tokens, output.tokens.size());
  };
  bool sound = output.key.lane < lanes_.size() && lanes_[output.key.lane].waits;
  if (sound) {
    const Lane& lane = lanes_[output.key.lane];
    sound = output.plan_hash == lane.last_hash && output.slices.size() == lane.asked.size();
    for (size_t i = 0; sound && i < lane.asked.size(); ++i)
      sound = answers(output.slices[i], lane.asked[i]);
  }
  for (int32_t token : output.tokens) sound &= token >= 0 && token < vocab_;
  if (sound) return {};
  return fail(ErrorCode::data_loss,
              "The answer of a step that came from another rank does not fit its plan: the "
              "generation ends here; look for ranks of different builds.");
}

void PlanCheck::produced(const StepOutput& output) {
  Lane& lane = lanes_[output.key.lane];
  TROUPE_CHECK(lane.waits && output.slices.size() == lane.asked.size(), output.key.lane);
  lane.waits = false;
  lane.drawn.clear();
  for (size_t i = 0; i < output.slices.size(); ++i) {
    const SliceOut& slice = output.slices[i];
    const bool drafted = lane.asked[i].draft_from >= 0;
    lane.drawn.push_back(
        slice.n_tokens == 0 || drafted
            ? -1
            : output.tokens[static_cast<size_t>(slice.tok_off + slice.n_tokens - 1)]);
    if (drafted)
      slots_[static_cast<size_t>(slice.slot)].next_position =
          lane.asked[i].draft_from + slice.n_tokens;
  }
}

const std::vector<int32_t>& PlanCheck::resolved_tokens(const StepPlan& plan) {
  const std::vector<int32_t>& drawn = lanes_[plan.key.lane].drawn;
  resolved_.assign(plan.tokens.begin(), plan.tokens.end());
  for (int32_t& token : resolved_)
    if (token < 0) {
      const auto row = static_cast<size_t>(-1 - int64_t{token});
      // Tokens that no slice names are not checked and not read.
      token = row < drawn.size() ? drawn[row] : 0;
    }
  return resolved_;
}

}  // namespace troupe
