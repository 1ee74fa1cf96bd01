#include "model/step_answer.h"

#include <algorithm>

#include "config/check.h"
#include "config/limits.h"

namespace troupe {

StepAnswer::StepAnswer(int32_t max_slots, int32_t max_rows, int32_t vocab, int32_t threads)
    : vocab_(vocab),
      slots_(static_cast<size_t>(max_slots)),
      rows_(static_cast<size_t>(max_rows)),
      scratch_(static_cast<size_t>(threads)) {
  ended_.reserve(static_cast<size_t>(max_slots));
  jobs_.reserve(static_cast<size_t>(max_slots));
}

void StepAnswer::begin(const StepPlan& plan) {
  for (int32_t slot : plan.close) slots_[static_cast<size_t>(slot)].reset();
  for (const SlotOpen& open : plan.open) slots_[static_cast<size_t>(open.slot)].emplace(open);
  row_count_ = 0;
  ended_.assign(plan.slices.size(), 0);
  size_t tops = 0;
  for (size_t i = 0; i < plan.slices.size(); ++i) {
    const Slice& slice = plan.slices[i];
    if (slice.out == Out::none) continue;
    for (int32_t row = slice.out_row0; row < slice.n_rows; ++row) {
      rows_[static_cast<size_t>(row_count_++)] =
          Row{.slice = static_cast<int32_t>(i), .row = row, .top_off = tops};
      tops += static_cast<size_t>(n_top(slice));
    }
  }
  tops_.assign(tops, {});
}

bool StepAnswer::plain_greedy(const Slice& slice) const {
  return slice.out == Out::sample && slot_of(slice).needs().of == RowNeeds::Of::largest;
}

RowNeeds StepAnswer::needs_of(const StepPlan& plan, const Row& row) const {
  const Slice& slice = plan.slices[static_cast<size_t>(row.slice)];
  if (slice.out == Out::sample) return slot_of(slice).needs();
  return {.of = n_top(slice) > kSummaryTopMax ? RowNeeds::Of::all : RowNeeds::Of::summary,
          .top = n_top(slice),
          .sums = true,
          .scored = scored_token(plan, row)};
}

int32_t StepAnswer::scored_token(const StepPlan& plan, const Row& row) {
  const Slice& slice = plan.slices[static_cast<size_t>(row.slice)];
  return plan.score[static_cast<size_t>(slice.score_off + row.row - slice.out_row0)];
}

int32_t StepAnswer::n_top(const Slice& slice) const {
  return std::clamp(slot_of(slice).parameters().n_logprobs, 0, vocab_);
}

StepAnswer::Jobs StepAnswer::take(const StepPlan& plan, const LogitRows& rows) {
  jobs_.clear();
  Jobs jobs;
  const auto end = rows.first + static_cast<int32_t>(rows.largest.size());
  for (int32_t i = rows.first; i < end;) {
    Job job{i, 0};
    const int32_t slice = rows_[static_cast<size_t>(i)].slice;
    for (; i < end && rows_[static_cast<size_t>(i)].slice == slice; ++i) ++job.count;
    jobs_.push_back(job);
    jobs.costly |= !plain_greedy(plan.slices[static_cast<size_t>(slice)]);
  }
  jobs.count = static_cast<int32_t>(jobs_.size());
  return jobs;
}

void StepAnswer::run(const StepPlan& plan, const LogitRows& rows, int32_t job, int32_t thread) {
  const Job& todo = jobs_[static_cast<size_t>(job)];
  for (int32_t i = todo.first; i < todo.first + todo.count; ++i) {
    Row& row = rows_[static_cast<size_t>(i)];
    const auto slice_index = static_cast<size_t>(row.slice);
    if (ended_[slice_index] != 0) return;
    row.counts = true;
    const int32_t at = i - rows.first;
    answer_row(plan, rows, at, row, scratch_[static_cast<size_t>(thread)]);
    const Slice& slice = plan.slices[slice_index];
    if (slice.out == Out::sample && !next_row_counts(plan, slice, row.row, row.token))
      ended_[slice_index] = 1;
  }
}

void StepAnswer::answer_row(const StepPlan& plan, const LogitRows& rows, int32_t at, Row& row,
                            SamplerScratch& scratch) {
  const Slice& slice = plan.slices[static_cast<size_t>(row.slice)];
  const Largest& largest = rows.largest[static_cast<size_t>(at)];
  SamplerSlot& slot = *slots_[static_cast<size_t>(slice.slot)];
  row.nonfinite = !largest.finite;
  if (row.nonfinite) return;
  if (plain_greedy(slice)) {
    row.token = largest.index;
    slot.accept(row.token);
    return;
  }
  const std::span logits(rows.logits + at * rows.stride, static_cast<size_t>(vocab_));
  const bool summed = needs_of(plan, row).of == RowNeeds::Of::summary && !rows.summaries.empty();
  const LogitSummary* summary = summed ? &rows.summaries[static_cast<size_t>(at)] : nullptr;
  const auto top = std::span(tops_).subspan(row.top_off, static_cast<size_t>(n_top(slice)));
  if (slice.out == Out::score) {
    if (summary != nullptr) {
      const LogNormaliser normaliser = normalise(summary->blocks);
      row.logprob = normaliser.logprob(summary->scored);
      top_logprobs(*summary, normaliser, top);
    } else {
      const LogNormaliser normaliser = normalise(logits, scratch.blocks);
      row.logprob = normaliser.logprob(logits[static_cast<size_t>(scored_token(plan, row))]);
      top_logprobs(logits, normaliser, top);
    }
    return;
  }
  const int32_t position = slice.pos0 + row.row + 1;
  const Drawn drawn = summary != nullptr ? slot.draw(*summary, position, scratch)
                                         : slot.draw(logits, position, scratch);
  slot.accept(drawn.token);
  row.token = drawn.token;
  row.logprob = drawn.logprob;
  std::ranges::copy(drawn.top, top.begin());
}

void StepAnswer::write(const StepPlan& plan, StepOutput& out) const {
  out.key = plan.key;
  out.plan_hash = plan.hash;
  out.slices.clear();
  out.tokens.clear();
  out.logprob.clear();
  out.top.clear();
  out.scores.clear();
  int32_t next = 0;
  for (size_t i = 0; i < plan.slices.size(); ++i) {
    const Slice& slice = plan.slices[i];
    SliceOut s;
    s.slot = slice.slot;
    s.tok_off = static_cast<int32_t>(out.tokens.size());
    s.top_off = static_cast<int32_t>(out.top.size());
    s.score_off = static_cast<int32_t>(out.scores.size());
    s.n_top = n_top(slice);
    for (; next < row_count_ && rows_[static_cast<size_t>(next)].slice == static_cast<int32_t>(i);
         ++next) {
      const Row& row = rows_[static_cast<size_t>(next)];
      if (!row.counts) continue;
      if (row.nonfinite) s.flags |= kNonfinite;
      if (slice.out == Out::score) {
        out.scores.push_back(row.logprob);
      } else {
        out.tokens.push_back(row.token);
        out.logprob.push_back(row.logprob);
        ++s.n_tokens;
      }
      const auto top = tops_.begin() + static_cast<ptrdiff_t>(row.top_off);
      out.top.insert(out.top.end(), top, top + s.n_top);
    }
    out.slices.push_back(s);
  }
}

}  // namespace troupe
