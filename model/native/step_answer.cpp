#include "model/native/step_answer.h"

#include <algorithm>
#include <utility>

#include "config/check.h"

namespace troupe::native {

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
  for (size_t i = 0; i < plan.slices.size(); ++i) {
    const Slice& slice = plan.slices[i];
    if (slice.out == Out::none) continue;
    for (int32_t row = slice.out_row0; row < slice.n_rows; ++row) {
      Row& r = rows_[static_cast<size_t>(row_count_++)];
      r.slice = static_cast<int32_t>(i);
      r.row = row;
      r.counts = r.nonfinite = false;
      r.top.clear();
    }
  }
}

bool StepAnswer::plain_greedy(const Slice& slice) const {
  const SamplerSlot& slot = *slots_[static_cast<size_t>(slice.slot)];
  return slice.out == Out::sample && slot.plain_greedy();
}

void StepAnswer::take(ThreadPool& pool, const StepPlan& plan, const Head& head, int32_t first,
                      int32_t count) {
  // Rows of a slice follow each other, because a draw may depend on what was accepted before it.
  jobs_.clear();
  bool costly = false;
  for (int32_t i = first; i < first + count;) {
    Job job{i, 0};
    const int32_t slice = rows_[static_cast<size_t>(i)].slice;
    for (; i < first + count && rows_[static_cast<size_t>(i)].slice == slice; ++i) ++job.count;
    jobs_.push_back(job);
    costly |= !plain_greedy(plan.slices[static_cast<size_t>(slice)]);
  }
  const auto run = [&](int i, int thread) {
    run_job(plan, head, jobs_[static_cast<size_t>(i)], first,
            scratch_[static_cast<size_t>(thread)]);
  };
  const auto jobs = static_cast<int>(jobs_.size());
  if (costly) {
    pool.run(jobs, run);
  } else {
    for (int i = 0; i < jobs; ++i) run(i, 0);
  }
}

void StepAnswer::run_job(const StepPlan& plan, const Head& head, const Job& job, int32_t first,
                         SamplerScratch& scratch) {
  for (int32_t i = job.first; i < job.first + job.count; ++i) {
    Row& row = rows_[static_cast<size_t>(i)];
    const auto slice_index = static_cast<size_t>(row.slice);
    if (ended_[slice_index] != 0) return;
    row.counts = true;
    answer_row(plan, head, row, i - first, scratch);
    const Slice& slice = plan.slices[slice_index];
    if (slice.out == Out::sample && !next_row_counts(plan, slice, row.row, row.token))
      ended_[slice_index] = 1;
  }
}

void StepAnswer::answer_row(const StepPlan& plan, const Head& head, Row& row, int32_t logits_row,
                            SamplerScratch& scratch) {
  const Slice& slice = plan.slices[static_cast<size_t>(row.slice)];
  SamplerSlot& slot = *slots_[static_cast<size_t>(slice.slot)];
  const Head::Best best = head.best(logits_row);
  row.nonfinite = !best.finite;
  if (row.nonfinite) {
    row.token = 0;
    return;
  }
  if (plain_greedy(slice)) {
    row.token = best.token;
    row.logprob = 0;
    slot.accept(row.token);
    return;
  }
  const auto logits = head.logits(logits_row);
  if (slice.out == Out::score) {
    const LogNormaliser normaliser = normalise(logits);
    const auto token = plan.score[static_cast<size_t>(slice.score_off + row.row - slice.out_row0)];
    row.logprob = normaliser.logprob(logits[static_cast<size_t>(token)]);
    row.top = top_logprobs(logits, normaliser, std::max(slot.parameters().n_logprobs, 0));
    return;
  }
  Drawn drawn = slot.draw(logits, slice.pos0 + row.row + 1, scratch);
  slot.accept(drawn.token);
  row.token = drawn.token;
  row.logprob = drawn.logprob;
  row.top = std::move(drawn.top);
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
    s.n_top =
        std::clamp(slots_[static_cast<size_t>(slice.slot)]->parameters().n_logprobs, 0, vocab_);
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
      const size_t begin = out.top.size();
      out.top.insert(out.top.end(), row.top.begin(), row.top.end());
      out.top.resize(begin + static_cast<size_t>(s.n_top));
    }
    out.slices.push_back(s);
  }
}

}  // namespace troupe::native
