// Draws and scores from the largest few logits and the sums of blocks are those from all logits.
#include "model/logit_summary.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <random>
#include <vector>

#include "config/limits.h"
#include "model/sampler.h"

using namespace troupe;

namespace logit_summary_test {
namespace {

/// Logits of which many are equal, some far below all others, some -0.
std::vector<float> random_logits(std::mt19937_64& random, size_t vocab) {
  std::vector<float> logits(vocab);
  const int steps = std::uniform_int_distribution(2, 3000)(random);
  const float scale = std::uniform_real_distribution(0.01f, 2.0f)(random);
  for (float& z : logits) {
    z = static_cast<float>(std::uniform_int_distribution(-steps, steps)(random)) * 20 * scale /
        static_cast<float>(steps);
    if (std::uniform_int_distribution(0, 9)(random) == 0) z = -200;
    if (std::uniform_int_distribution(0, 9)(random) == 0) z = z > 0 ? 0.0f : -0.0f;
  }
  return logits;
}

/// As several ranks put it together; cut at whole blocks.
struct Gathered {
  std::vector<TokenLogprob> top;
  std::vector<BlockSum> blocks;
  LogitSummary view() const { return {.top = top, .blocks = blocks}; }
};
Gathered gather(std::span<const float> logits, const RowNeeds& needs, std::mt19937_64& random) {
  Gathered all;
  for (size_t begin = 0; begin < logits.size();) {
    const auto blocks = std::uniform_int_distribution<size_t>(1, 3)(random);
    const auto own = logits.subspan(begin, std::min(blocks * kLogprobBlock, logits.size() - begin));
    std::vector<TokenLogprob> top(std::min(static_cast<size_t>(needs.top), own.size()));
    largest_logits(own, static_cast<int32_t>(begin), top);
    all.top.insert(all.top.end(), top.begin(), top.end());
    std::vector<BlockSum> sums(needs.sums ? (own.size() + kLogprobBlock - 1) / kLogprobBlock : 0);
    block_sums(own, sums);
    all.blocks.insert(all.blocks.end(), sums.begin(), sums.end());
    begin += own.size();
  }
  keep_largest(all.top, needs.top);
  return all;
}

}  // namespace

TEST_CASE("logit summary: a draw from it is the draw from all logits, bit for bit") {
  const uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const auto pick = [&](int32_t low, int32_t high) {
    return std::uniform_int_distribution(low, high)(random);
  };
  SamplerScratch scratch, alone_scratch, other_scratch;
  int summaries = 0, cut_by_k = 0, random_draws = 0;
  for (int round = 0; round < 3000; ++round) {
    CAPTURE(round);
    const auto logits = random_logits(random, static_cast<size_t>(pick(1, 1500)));
    SlotOpen open{.seed = random(), .n_prompt = 1, .temperature = 0, .n_logprobs = pick(-1, 20)};
    if (pick(0, 3) > 0) {
      open.temperature = 0.1f * static_cast<float>(pick(1, 20));
      open.top_k = pick(1, pick(0, 1) == 0 ? 5 : kSummaryTopMax);
      if (pick(0, 1) == 0) open.top_p = 0.05f * static_cast<float>(pick(1, 20));
      if (pick(0, 2) == 0) open.min_p = 0.1f * static_cast<float>(pick(0, 12));
    }
    const SamplerSlot slot(open);
    const RowNeeds needs = slot.needs();
    if (needs.of != RowNeeds::Of::summary) {
      REQUIRE(open.temperature == 0);
      REQUIRE(open.n_logprobs < 0);
      continue;
    }
    ++summaries;
    random_draws += open.temperature > 0;
    cut_by_k += open.temperature > 0 && logits.size() > static_cast<size_t>(open.top_k);
    // A bias of nothing takes the way over all tokens' weights.
    open.bias = {{0, 0.0f}};
    const Drawn expected = SamplerSlot(open).draw(logits, 7, scratch);
    const Drawn alone = slot.draw(logits, 7, alone_scratch);
    REQUIRE(alone.token == expected.token);
    REQUIRE(std::bit_cast<uint32_t>(alone.logprob) == std::bit_cast<uint32_t>(expected.logprob));
    REQUIRE(std::ranges::equal(alone.top, expected.top));
    const Gathered gathered = gather(logits, needs, random);
    const Drawn drawn = slot.draw(gathered.view(), 7, other_scratch);
    REQUIRE(drawn.token == expected.token);
    REQUIRE(std::bit_cast<uint32_t>(drawn.logprob) == std::bit_cast<uint32_t>(expected.logprob));
    REQUIRE(std::ranges::equal(drawn.top, expected.top));
  }
  CHECK(summaries > 1500);
  CHECK(random_draws > 1000);
  CHECK(cut_by_k > 500);
}

TEST_CASE("logit summary: what can't be drawn from it asks for all logits") {
  const auto needs = [](SlotOpen open) { return SamplerSlot(std::move(open)).needs().of; };
  using Of = RowNeeds::Of;
  CHECK(needs({.temperature = 0, .n_logprobs = -1}) == Of::largest);
  CHECK(needs({.temperature = 0, .n_logprobs = 0}) == Of::summary);
  CHECK(needs({.temperature = 1, .top_k = 40, .n_logprobs = -1}) == Of::summary);
  CHECK(needs({.temperature = 1, .top_p = 0.9f, .min_p = 0.1f, .top_k = 40}) == Of::summary);
  CHECK(needs({.temperature = 1, .n_logprobs = -1}) == Of::all);
  CHECK(needs({.temperature = 1, .top_p = 0.9f, .n_logprobs = -1}) == Of::all);
  CHECK(needs({.temperature = 1, .top_k = kSummaryTopMax + 1, .n_logprobs = -1}) == Of::all);
  CHECK(needs({.temperature = 0, .presence = 1, .n_logprobs = -1}) == Of::all);
  CHECK(needs({.temperature = 0, .n_logprobs = -1, .bias = {{3, 1.0f}}}) == Of::all);
}

}  // namespace logit_summary_test
