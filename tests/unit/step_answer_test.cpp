// Answers made of logits against sums in double and plain searches.
#include "model/step_answer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "tests/unit/allocations.h"

using namespace troupe;

namespace step_answer_test {
namespace {

constexpr int32_t kVocab = 700, kRows = 12;

/// Two drafts of which the first is right, a draw, scores, nothing; slots 0 to 3.
struct Mixed {
  StepPlan plan;
  std::vector<float> logits;  ///< of the output rows: 3 + 1 + 4
  static constexpr int32_t kOut = 8;

  Mixed() : logits(static_cast<size_t>(kOut) * kVocab) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal(0, 3);
    for (float& z : logits) z = std::round(normal(random) * 8) / 8;  // ties are common
    plan.open = {{.slot = 0, .temperature = 0, .n_logprobs = -1},
                 {.slot = 1, .seed = 5, .temperature = 0.7f, .n_logprobs = 3},
                 {.slot = 2, .temperature = 0, .n_logprobs = 2},
                 {.slot = 3, .n_logprobs = -1}};
    plan.tokens = {1, largest(0), largest(1) ^ 1, 2, 3, 4, 5, 6, 7};
    plan.score = {10, largest(5), 12, 699};
    plan.slices = {{.slot = 0, .pos0 = 8, .n_rows = 3, .n_draft = 2, .out = Out::sample},
                   {.slot = 1, .pos0 = 4, .n_rows = 1, .tok_off = 3, .out = Out::sample},
                   {.slot = 2, .n_rows = 4, .tok_off = 4, .out = Out::score},
                   {.slot = 3, .n_rows = 1, .tok_off = 8, .out_row0 = 1}};
  }
  std::span<const float> row(int32_t i) const {
    return std::span(logits).subspan(static_cast<size_t>(i) * kVocab, kVocab);
  }
  int32_t largest(int32_t i) const {
    return static_cast<int32_t>(std::ranges::max_element(row(i)) - row(i).begin());
  }
  double logprob(int32_t i, int32_t token) const {
    double total = 0;
    for (float z : row(i)) total += std::exp(static_cast<double>(z));
    return static_cast<double>(row(i)[static_cast<size_t>(token)]) - std::log(total);
  }
  std::vector<int32_t> best(int32_t i, size_t count) const {
    std::vector<int32_t> ids(kVocab);
    for (int32_t id = 0; id < kVocab; ++id) ids[static_cast<size_t>(id)] = id;
    const auto z = row(i);
    std::ranges::sort(ids, [&](int32_t a, int32_t b) {
      const float za = z[static_cast<size_t>(a)], zb = z[static_cast<size_t>(b)];
      return za != zb ? za > zb : a < b;
    });
    ids.resize(count);
    return ids;
  }

  /// The logits arrive `at_once` rows at a time. `bests` is room for them.
  void answer(StepAnswer& to, int32_t at_once, std::vector<Largest>& bests, StepOutput& out) const {
    to.begin(plan);
    for (int32_t first = 0; first < kOut; first += at_once) {
      const int32_t count = std::min(at_once, kOut - first);
      bests.clear();
      for (int32_t i = first; i < first + count; ++i) bests.push_back(exact_largest(row(i)));
      const LogitRows rows{
          .logits = row(first).data(), .stride = kVocab, .first = first, .largest = bests};
      const StepAnswer::Jobs jobs = to.take(plan, rows);
      for (int32_t job = jobs.count; job-- > 0;) to.run(plan, rows, job, 0);
    }
    to.write(plan, out);
  }
  StepOutput answer(int32_t at_once = kOut) const {
    StepAnswer answer(4, kRows, kVocab, 1);
    std::vector<Largest> bests;
    StepOutput out;
    this->answer(answer, at_once, bests, out);
    return out;
  }
};

}  // namespace

TEST_CASE("step answer: a wrong draft ends its slice, and rows behind it give nothing") {
  const Mixed m;
  const StepOutput out = m.answer();
  REQUIRE(out.slices.size() == 4);
  CHECK(out.slices[0].n_tokens == 2);
  CHECK(out.tokens[0] == m.largest(0));
  CHECK(out.tokens[1] == m.largest(1));
  CHECK(out.slices[1].tok_off == 2);
  CHECK(out.tokens.size() == 3);
  CHECK(out.slices[3].n_tokens == 0);
}

TEST_CASE("step answer: draws, scores and alternatives are those of sums in double") {
  const Mixed m;
  const StepOutput out = m.answer();
  const auto check_top = [&](int32_t row, size_t from, size_t count) {
    const auto best = m.best(row, count);
    for (size_t i = 0; i < count; ++i) {
      CHECK(out.top[from + i].token == best[i]);
      CHECK(out.top[from + i].logprob == doctest::Approx(m.logprob(row, best[i])).epsilon(1e-6));
    }
  };
  CHECK(out.slices[0].n_top == 0);
  CHECK(out.slices[1].n_top == 3);
  CHECK(out.logprob[2] == doctest::Approx(m.logprob(3, out.tokens[2])).epsilon(1e-6));
  check_top(3, static_cast<size_t>(out.slices[1].top_off), 3);
  REQUIRE(out.scores.size() == 4);
  CHECK(out.slices[2].n_tokens == 0);
  CHECK(out.slices[2].n_top == 2);
  REQUIRE(out.top.size() == 3 + 4 * 2);
  for (int32_t i = 0; i < 4; ++i) {
    const auto at = static_cast<size_t>(i);
    CHECK(out.scores[at] == doctest::Approx(m.logprob(4 + i, m.plan.score[at])).epsilon(1e-6));
    check_top(4 + i, static_cast<size_t>(out.slices[2].top_off) + 2 * at, 2);
  }
}

TEST_CASE("step answer: how many rows arrive at once changes nothing") {
  const Mixed m;
  const StepOutput whole = m.answer();
  for (int32_t at_once = 1; at_once < Mixed::kOut; ++at_once) {
    CAPTURE(at_once);
    const StepOutput out = m.answer(at_once);
    CHECK(out.tokens == whole.tokens);
    CHECK(out.logprob == whole.logprob);
    CHECK(out.top == whole.top);
    CHECK(out.scores == whole.scores);
  }
}

TEST_CASE("step answer: a logit that is not finite marks its slice and no other") {
  Mixed m;
  m.logits[4 * kVocab + 100] = std::numeric_limits<float>::quiet_NaN();
  const StepOutput out = m.answer();
  CHECK(out.slices[0].flags == 0);
  CHECK(out.slices[1].flags == 0);
  CHECK(out.slices[2].flags == kNonfinite);
  CHECK(out.scores.size() == 4);
}

TEST_CASE("step answer: more alternatives than the vocabulary has are all of it") {
  Mixed m;
  m.plan.open[1].n_logprobs = kVocab + 5;
  CHECK(m.answer().slices[1].n_top == kVocab);
}

TEST_CASE("step answer: once warm, draws, scores and alternatives allocate nothing") {
  Mixed m;
  StepAnswer answer(4, kRows, kVocab, 1);
  std::vector<Largest> bests;
  StepOutput out;
  m.answer(answer, 3, bests, out);
  m.plan.open.clear();
  const StepOutput first = out;
  const uint64_t before = test::allocations_of_this_thread();
  m.answer(answer, 3, bests, out);
  const uint64_t after = test::allocations_of_this_thread();
  CHECK(after == before);
  CHECK(out.tokens == first.tokens);
}

TEST_CASE("allocations: an allocation is counted") {
  const uint64_t before = test::allocations_of_this_thread();
  const auto memory = std::make_unique<int>(7);
  volatile const int* kept = memory.get();  // not to be optimised away
  const uint64_t after = test::allocations_of_this_thread();
  CHECK(*kept == 7);
  CHECK(after == before + 1);
}

}  // namespace step_answer_test
