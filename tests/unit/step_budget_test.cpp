#include "cluster/step_budget.h"

#include <doctest/doctest.h>

#include <random>

#include "config/limits.h"

using namespace troupe;

namespace step_budget_test {
namespace {

/// A machine whose steps take base + rows, times of each kind.
struct Machine {
  double base_us = 2000, decode_us = 300, prompt_us = 200;
  Duration step(int32_t prompt, int32_t decode) const {
    const double us = (decode > 0 ? base_us + decode_us * decode : 0) + prompt_us * prompt;
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::micro>(us));
  }
  void run(StepBudget& budget, int32_t prompt, int32_t decode, int times = 1) const {
    for (int i = 0; i < times; ++i) budget.finished(prompt, decode, step(prompt, decode));
  }
};

}  // namespace

TEST_CASE("step budget: until a prompt was seen it gives the first chunk") {
  StepBudget budget(128);
  CHECK(budget.prompt_rows(0) == 128);
  Machine{}.run(budget, 0, 3, 10);
  CHECK(budget.prompt_rows(3) == 128);
  CHECK(budget.expected(0, 3) > Duration{});
}

TEST_CASE("step budget: who decodes waits no longer than the target, in whole units") {
  StepBudget budget(128);
  const Machine machine;
  for (int i = 0; i < 20; ++i) {
    machine.run(budget, 0, 1 + i % 8, 3);
    machine.run(budget, 64, 1 + i % 8);
  }
  for (int32_t decoding : {1, 4, 8}) {
    const int32_t rows = budget.prompt_rows(decoding);
    CHECK(rows % kPromptRowsUnit == 0);
    CHECK(machine.step(rows, decoding) <= kTokenGapTarget * 11 / 10);
    CHECK(machine.step(rows + 2 * kPromptRowsUnit, decoding) > kTokenGapTarget * 9 / 10);
  }
  // Nobody decodes: only the length of a step bounds it.
  const int32_t alone = budget.prompt_rows(0);
  CHECK(machine.step(alone, 0) <= kStepTimeMax * 11 / 10);
  CHECK(machine.step(alone, 0) > kStepTimeMax * 8 / 10);
}

TEST_CASE("step budget: a machine too slow for the target still computes prompts") {
  StepBudget budget(128);
  const Machine slow{.base_us = 40'000, .decode_us = 10'000, .prompt_us = 2'000};
  for (int i = 0; i < 30; ++i) {
    slow.run(budget, 0, 1 + i % 2);
    slow.run(budget, 32, 1);
  }
  CHECK(budget.prompt_rows(1) == 48);  // 50 ms of decoding and twice as much for prompts
  const Machine crawling{.base_us = 0, .decode_us = 1, .prompt_us = 400'000};
  StepBudget other(128);
  crawling.run(other, 16, 0, 5);
  CHECK(other.prompt_rows(0) == kPromptRowsUnit);
}

TEST_CASE("step budget: a few steps that a neighbour slowed down change little") {
  StepBudget calm(128), disturbed(128);
  const Machine machine;
  std::mt19937 random(7);
  for (int i = 0; i < 200; ++i) {
    const int32_t decoding = 1 + static_cast<int32_t>(random() % 8);
    const bool prompt = i % 4 == 0;
    const Duration took = machine.step(prompt ? 96 : 0, decoding);
    calm.finished(prompt ? 96 : 0, decoding, took);
    disturbed.finished(prompt ? 96 : 0, decoding, i % 20 == 19 ? took * 20 : took);
  }
  const double ratio = static_cast<double>(disturbed.prompt_rows(4)) / calm.prompt_rows(4);
  CHECK(ratio > 0.6);
  CHECK(ratio < 1.2);
}

TEST_CASE("step budget: follows a machine that becomes slower for good") {
  StepBudget budget(128);
  const Machine fast, slow{.base_us = 8000, .decode_us = 1200, .prompt_us = 800};
  const auto both = [&](const Machine& m, int times) {
    for (int i = 0; i < times; ++i) {
      m.run(budget, 0, 1 + i % 4, 4);
      m.run(budget, budget.prompt_rows(4), 4);
    }
  };
  both(fast, 40);
  both(slow, 60);
  CHECK(slow.step(budget.prompt_rows(4), 4) <= kTokenGapTarget * 12 / 10);
}

TEST_CASE("step budget: knows what another decode row costs beside those there are") {
  StepBudget budget(128);
  CHECK(budget.extra_row_cost(1) == 1);
  const Machine machine{.base_us = 900, .decode_us = 100};
  for (int i = 0; i < 200; ++i) machine.run(budget, 0, 1 + i % 8);
  CHECK(budget.extra_row_cost(1) == doctest::Approx(0.1).epsilon(0.2));
  CHECK(budget.extra_row_cost(9) == doctest::Approx(0.5).epsilon(0.2));
}

}  // namespace step_budget_test
