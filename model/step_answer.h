// Turns logits into the answer of a step: draws, scores, alternatives, drafts accepted. Holds the
// sampler slots. The part that backends share; owned by one Partition, whose thread calls. Only
// run() may be called from several threads at once, each with a number of its own. Allocates
// nothing once warm, but for what a slot with penalties counts.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "model/exact_math.h"
#include "model/logit_summary.h"
#include "model/sampler.h"
#include "model/step.h"

namespace troupe {

/// Logits of some consecutive output rows, in the order of the plan.
struct LogitRows {
  const float* logits = nullptr;  ///< [largest.size()][stride], the first `vocab` of each row count
  int64_t stride = 0;
  int32_t first = 0;                 ///< output rows of the plan before these
  std::span<const Largest> largest;  ///< of each row
  /// Of each row; where needs() asks for a summary it stands in place of the logits, unless none is
  /// given at all.
  std::span<const LogitSummary> summaries;
};

class StepAnswer {
 public:
  StepAnswer() = default;
  /// `threads`: numbers run() may be called with.
  StepAnswer(int32_t max_slots, int32_t max_rows, int32_t vocab, int32_t threads);

  /// Closes and opens the plan's slots and lists the rows that give output.
  void begin(const StepPlan& plan);
  /// What output row `row` of the plan needs. Says the same on every rank that begins the plan.
  RowNeeds needs(const StepPlan& plan, int32_t row) const {
    return needs_of(plan, rows_[static_cast<size_t>(row)]);
  }

  /// Rows of one slice are one job: a draw may depend on what was accepted before it.
  struct Jobs {
    int32_t count = 0;
    bool costly = false;  ///< worth several threads
  };
  /// The next rows are at hand. Called for ascending runs that cover all of them; all jobs of a run
  /// end before the next.
  Jobs take(const StepPlan& plan, const LogitRows& rows);
  /// Job `job` of the last take(), with the same arguments.
  void run(const StepPlan& plan, const LogitRows& rows, int32_t job, int32_t thread);

  /// Writes key, hash and all that slices gave; the vectors of `out` are reused.
  void write(const StepPlan& plan, StepOutput& out) const;

 private:
  /// What one output row gave.
  struct Row {
    int32_t slice = 0, row = 0;  ///< row within the slice
    bool counts = false;         ///< false: behind a wrong draft
    bool nonfinite = false;
    int32_t token = 0;
    float logprob = 0;  ///< drawn token's, or the score
    size_t top_off = 0;
  };
  struct Job {
    int32_t first = 0, count = 0;  ///< into rows_
  };

  const SamplerSlot& slot_of(const Slice& slice) const {
    return *slots_[static_cast<size_t>(slice.slot)];
  }
  bool plain_greedy(const Slice& slice) const;
  int32_t n_top(const Slice& slice) const;
  RowNeeds needs_of(const StepPlan& plan, const Row& row) const;
  static int32_t scored_token(const StepPlan& plan, const Row& row);
  /// `at`: of `row` among `rows`.
  void answer_row(const StepPlan& plan, const LogitRows& rows, int32_t at, Row& row,
                  SamplerScratch& scratch);

  int32_t vocab_ = 0;
  std::vector<std::optional<SamplerSlot>> slots_;
  std::vector<Row> rows_;
  int32_t row_count_ = 0;
  std::vector<TokenLogprob> tops_;  ///< alternatives of all rows
  std::vector<uint8_t> ended_;      ///< per slice: a draft was wrong
  std::vector<Job> jobs_;
  std::vector<SamplerScratch> scratch_;  ///< one a thread
};

}  // namespace troupe
