// How many prompt rows a step may have. Learns how long steps take from those that ran, and keeps a
// step within an inter-token target while anybody waits for his next token, or within kStepTimeMax
// when all wait for their first. Pure; owned by one Batcher.
//
// Two models, so that neither is forgotten while only the other is seen: a step that only decodes
// takes base + decode * rows (least squares, old steps fade), a prompt's row adds a time of its
// own. In a pipeline, steps of all lanes pass between two tokens of a stream, and what is learnt
// and planned is the time between two of them. A step far from what was expected (the machine was
// busy with something else) counts only as far as the usual spread goes.
#pragma once

#include <cstdint>

#include "config/time.h"

namespace troupe {

class StepBudget {
 public:
  /// `first_chunk`: prompt rows a step may have until the first prompt has shown what rows cost.
  explicit StepBudget(int32_t first_chunk, int32_t lanes = 1)
      : first_chunk_(first_chunk), lanes_(lanes) {}

  /// Rows that feed a prompt, rows that draw a token of a running answer (drafts too).
  void finished(int32_t prompt_rows, int32_t decode_rows, Duration took);

  /// Prompt rows for a step that decodes so many rows: a multiple of kPromptRowsUnit, at least one
  /// such unit, however slow the machine: prompts must come to an end too.
  int32_t prompt_rows(int32_t decode_rows) const;
  /// 0 while nothing is known.
  Duration expected(int32_t prompt_rows, int32_t decode_rows) const;
  /// What one more decode row adds to a step, as a part of what a row costs in a step of
  /// `decode_rows` rows: 0 for free, 1 for no cheaper than a step of its own. 1 until it is known.
  double extra_row_cost(int32_t decode_rows) const;

 private:
  struct Line {
    double base = 0, per_row = 0;  ///< seconds
  };
  Line decode_line() const;
  void learn_decode(int32_t rows, double seconds);
  void learn_prompt(int32_t rows, double seconds);

  int32_t first_chunk_, lanes_;
  double weight_ = 0, rows_ = 0, rows2_ = 0, time_ = 0, rows_time_ = 0;  ///< fading sums
  double spread_ = 0;      ///< usual distance from what was expected
  double prompt_row_ = 0;  ///< seconds; 0: unknown
  int decode_steps_ = 0;
};

}  // namespace troupe
