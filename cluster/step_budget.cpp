#include "cluster/step_budget.h"

#include <algorithm>
#include <cmath>

#include "config/limits.h"

namespace troupe {

namespace {

constexpr double kFade = 0.98;           // about the last 50 steps count
constexpr double kRowVarianceKnown = 1;  // rows squared: below it the slope leans on the prompt's
constexpr int kStepsTrusted = 8;         // before, nothing is taken for an outlier
constexpr double kSpreadsAllowed = 4;
constexpr double kPromptRate = 0.3;

double seconds_of(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

StepBudget::Line StepBudget::decode_line() const {
  if (weight_ <= 0) return {};
  const double rows = rows_ / weight_, time = time_ / weight_;
  const double variance = rows2_ / weight_ - rows * rows;
  const double covariance = rows_time_ / weight_ - rows * time;
  // As long as all steps had the same rows, only the prompts' rows say what a row may cost.
  const double slope =
      (covariance + kRowVarianceKnown * prompt_row_) / (variance + kRowVarianceKnown);
  const double per_row = std::clamp(slope, 0.0, 0.9 * time / rows);
  return Line{.base = time - per_row * rows, .per_row = per_row};
}

void StepBudget::finished(int32_t prompt_rows, int32_t decode_rows, Duration took) {
  const double seconds = seconds_of(took);
  if (prompt_rows > 0) {
    learn_prompt(prompt_rows, seconds - seconds_of(expected(0, decode_rows)));
  } else if (decode_rows > 0) {
    learn_decode(decode_rows, seconds);
  }
}

void StepBudget::learn_decode(int32_t rows, double seconds) {
  if (decode_steps_ >= kStepsTrusted) {
    const double expected = seconds_of(this->expected(0, rows));
    const double allowed = std::max(kSpreadsAllowed * spread_, 0.25 * expected);
    seconds = std::clamp(seconds, expected - allowed, expected + allowed);
    spread_ += 0.05 * (std::abs(seconds - expected) - spread_);
  } else {
    ++decode_steps_;
  }
  const double n = rows;
  weight_ = kFade * weight_ + 1;
  rows_ = kFade * rows_ + n;
  rows2_ = kFade * rows2_ + n * n;
  time_ = kFade * time_ + seconds;
  rows_time_ = kFade * rows_time_ + n * seconds;
}

void StepBudget::learn_prompt(int32_t rows, double seconds) {
  const double n = rows;
  if (prompt_row_ <= 0) {
    prompt_row_ = std::max(seconds / n, 1e-9);
    return;
  }
  const double seen = std::clamp(seconds / n, prompt_row_ / 3, prompt_row_ * 3);
  prompt_row_ += kPromptRate * n / (n + kPromptRowsUnit) * (seen - prompt_row_);
}

int32_t StepBudget::prompt_rows(int32_t decode_rows) const {
  if (prompt_row_ <= 0) return first_chunk_;
  const double decode = seconds_of(expected(0, decode_rows));
  const double target =
      decode_rows > 0 ? std::max(seconds_of(kTokenGapTarget) / lanes_, kChunkStepFactor * decode)
                      : seconds_of(kStepTimeMax) / lanes_;
  const double rows = std::min((target - decode) / prompt_row_, double{kRowsPerStepMax});
  const auto units = static_cast<int32_t>(rows) / kPromptRowsUnit;
  return std::max(units, 1) * kPromptRowsUnit;
}

Duration StepBudget::expected(int32_t prompt_rows, int32_t decode_rows) const {
  const Line line = decode_line();
  const double decode = decode_rows > 0 ? line.base + line.per_row * decode_rows : 0;
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(decode + prompt_row_ * prompt_rows));
}

double StepBudget::extra_row_cost(int32_t decode_rows) const {
  const Line line = decode_line();
  if (line.per_row <= 0 || decode_rows < 1) return 1;
  return line.per_row * decode_rows / (line.base + line.per_row * decode_rows);
}

}  // namespace troupe
