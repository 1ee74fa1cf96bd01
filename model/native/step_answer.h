// Turns logits into the answer of a step: draws, scores, alternatives, drafts accepted. Holds the
// sampler slots. Owned by one NativePartition; one thread calls, the pool helps with costly draws.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "model/native/head.h"
#include "model/native/thread_pool.h"
#include "model/sampler.h"
#include "model/step.h"

namespace troupe::native {

class StepAnswer {
 public:
  StepAnswer() = default;
  StepAnswer(int32_t max_slots, int32_t max_rows, int32_t vocab, int32_t threads);

  /// Closes and opens the plan's slots and lists the rows that give output.
  void begin(const StepPlan& plan);
  /// Takes the logits of `count` output rows from `first` on (both in the order of hidden rows).
  /// Called for ascending runs that cover all of them.
  void take(ThreadPool& pool, const StepPlan& plan, const Head& head, int32_t first, int32_t count);
  /// Writes key, hash and slices of `out`; its vectors are reused.
  void write(const StepPlan& plan, StepOutput& out) const;

 private:
  /// What one output row gave.
  struct Row {
    int32_t slice = 0, row = 0;  ///< row within the slice
    bool counts = false;         ///< false: behind a wrong draft
    bool nonfinite = false;
    int32_t token = 0;
    float logprob = 0;  ///< drawn token's, or the score
    std::vector<TokenLogprob> top;
  };
  /// Rows of one slice within a run, drawn one after the other.
  struct Job {
    int32_t first = 0, count = 0;  ///< into rows_
  };

  bool plain_greedy(const Slice& slice) const;
  void answer_row(const StepPlan& plan, const Head& head, Row& row, int32_t logits_row,
                  SamplerScratch& scratch);
  void run_job(const StepPlan& plan, const Head& head, const Job& job, int32_t first,
               SamplerScratch& scratch);

  int32_t vocab_ = 0;
  std::vector<std::optional<SamplerSlot>> slots_;
  std::vector<Row> rows_;
  int32_t row_count_ = 0;
  std::vector<uint8_t> ended_;  ///< per slice: a draft was wrong
  std::vector<Job> jobs_;
  std::vector<SamplerScratch> scratch_;  ///< one a thread
};

}  // namespace troupe::native
