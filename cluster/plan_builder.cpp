#include "cluster/plan_builder.h"

#include <algorithm>

#include "cluster/kv_books.h"
#include "config/check.h"

namespace troupe {

namespace {

bool penalised(const Sampling& s) {
  return s.repetition != 1 || s.presence != 0 || s.frequency != 0;
}

SlotOpen open_of(const Sequence& sequence) {
  const Sampling& s = sequence.request.sampling;
  SlotOpen open{.slot = sequence.slot->value,
                .seed = s.seed,
                .choice = sequence.request.key.choice,
                .n_prompt = sequence.prompt_size,
                .adapter = sequence.request.adapter,
                .temperature = s.temperature,
                .top_p = s.top_p,
                .min_p = s.min_p,
                .repetition = s.repetition,
                .presence = s.presence,
                .frequency = s.frequency,
                .top_k = s.top_k,
                .n_logprobs = s.n_logprobs,
                .bias = s.bias};
  if (penalised(s)) {
    open.history.reserve(sequence.tokens.size());
    for (TokenId token : sequence.tokens) open.history.push_back(token.value);
  }
  return open;
}

/// The token at position `p`; the one that comes next is named by who draws it.
int32_t token_at(const Sequence& sequence, int32_t p) {
  if (p < sequence.size()) return sequence.tokens[static_cast<size_t>(p)].value;
  TROUPE_CHECK(p == sequence.size() && sequence.pending == 1, p, sequence.size());
  return -1 - sequence.drawn_slice;
}

Slice slice_of(const Pick& pick, StepPlan& plan) {
  const Sequence& sequence = *pick.sequence;
  const int32_t end = sequence.planned + pick.rows;
  Slice slice{.slot = sequence.slot->value,
              .pos0 = sequence.planned,
              .n_rows = pick.rows,
              .n_draft = pick.drafts,
              .tok_off = static_cast<int32_t>(plan.tokens.size()),
              .blk_off = static_cast<int32_t>(plan.blocks.size()),
              .n_blk = blocks_for(end),
              .out_row0 = pick.rows};
  const int32_t known_end = end - pick.drafts;
  for (int32_t p = slice.pos0; p < known_end; ++p) plan.tokens.push_back(token_at(sequence, p));
  for (int32_t i = 0; i < pick.drafts; ++i) plan.tokens.push_back(sequence.draft(i).value);
  for (int32_t i = 0; i < slice.n_blk; ++i) {
    plan.blocks.push_back(sequence.blocks[static_cast<size_t>(i)].value);
  }
  if (sequence.scoring_planned()) {
    const int32_t first = std::max(slice.pos0, sequence.scored());
    if (first >= end) return slice;
    slice.out = Out::score;
    slice.out_row0 = first - slice.pos0;
    slice.score_off = static_cast<int32_t>(plan.score.size());
    for (int32_t p = first; p < end; ++p) {
      plan.score.push_back(sequence.tokens[static_cast<size_t>(p) + 1].value);
    }
  } else if (known_end == sequence.size_planned()) {
    slice.out = Out::sample;
    slice.out_row0 = pick.rows - 1 - pick.drafts;
  }
  return slice;
}

void take_off(Sequence& sequence, const Slice& slice, size_t index, uint32_t lane) {
  ++sequence.flights;
  sequence.planned += slice.n_rows;
  if (slice.out != Out::sample) return;
  ++sequence.pending;
  sequence.drafting = slice.n_draft > 0;
  sequence.drawn_slice = static_cast<int32_t>(index);
  sequence.drawn_lane = static_cast<int32_t>(lane);
}

}  // namespace

int32_t rows_possible(const Sequence& sequence) {
  return sequence.scoring_planned() ? sequence.prompt_size - 1 - sequence.planned
                                    : sequence.rows_wanted();
}

StepPlan build_plan(const StepKey& key, std::span<const Pick> picks, std::vector<int32_t> close) {
  StepPlan plan;
  plan.key = key;
  plan.close = std::move(close);
  plan.slices.reserve(picks.size());
  for (const Pick& pick : picks) {
    TROUPE_CHECK(
        pick.rows > pick.drafts && pick.rows - pick.drafts <= rows_possible(*pick.sequence),
        pick.rows, pick.drafts);
    if (!pick.sequence->slot_sent) {
      plan.open.push_back(open_of(*pick.sequence));
      pick.sequence->slot_sent = true;
    }
    if (pick.sequence->copy_from && pick.sequence->planned == pick.sequence->prompt_from) {
      const auto own = static_cast<size_t>(pick.sequence->planned / kBlockPositions);
      plan.copy.push_back({pick.sequence->copy_from->value, pick.sequence->blocks[own].value});
    }
    plan.slices.push_back(slice_of(pick, plan));
    take_off(*pick.sequence, plan.slices.back(), plan.slices.size() - 1, key.lane);
  }
  plan.hash = hash_of(plan);
  return plan;
}

StepPlan build_canary(const StepKey& key, int32_t slot, int32_t block, std::vector<int32_t> close) {
  StepPlan plan;
  plan.key = key;
  plan.close = std::move(close);
  plan.open.push_back(SlotOpen{.slot = slot, .n_prompt = 1, .temperature = 0, .n_logprobs = -1});
  plan.slices.push_back(
      Slice{.slot = slot, .n_rows = 1, .n_blk = 1, .out_row0 = 0, .out = Out::sample});
  plan.tokens.push_back(1);
  plan.blocks.push_back(block);
  plan.hash = hash_of(plan);
  return plan;
}

}  // namespace troupe
