// The sampler against published vectors, statistics, and a slow reference written from the text of
// N13-N15.
#include "model/sampler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "model/exact_math.h"
#include "model/philox.h"

using namespace troupe;

namespace sampler_test {
namespace {

std::vector<float> random_logits(std::mt19937& random, size_t vocab, float spread) {
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(vocab);
  // Rounded, so that ties are common.
  for (float& z : logits) z = std::round(normal(random) * 8) / 8;
  return logits;
}

/// Logits after penalties and bias, computed naively from the history.
std::vector<double> reference_adjust(std::span<const float> logits, const SlotOpen& open,
                                     const std::vector<int32_t>& history) {
  std::vector<double> z(logits.begin(), logits.end());
  for (size_t t = 0; t < z.size(); ++t) {
    const auto token = static_cast<int32_t>(t);
    const auto prompt_end =
        history.begin() + std::min<ptrdiff_t>(open.n_prompt, std::ssize(history));
    const auto generated = std::count(prompt_end, history.end(), token);
    if (std::count(history.begin(), history.end(), token) > 0)
      z[t] = z[t] > 0 ? z[t] / open.repetition : z[t] * open.repetition;
    z[t] -= open.frequency * static_cast<double>(generated) + (generated > 0 ? open.presence : 0);
    for (auto [id, value] : open.bias)
      if (id == token) z[t] += value;
  }
  return z;
}

struct Kept {
  int32_t token;
  double weight;
};

/// What may be drawn, best first, by full sort and std::exp in double.
std::vector<Kept> reference_distribution(const std::vector<double>& z, const SlotOpen& open) {
  std::vector<int32_t> order(z.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int32_t a, int32_t b) { return z[a] != z[b] ? z[a] > z[b] : a < b; });
  std::vector<Kept> kept;
  for (int32_t id : order) {
    const double weight = std::exp((z[id] - z[order[0]]) / open.temperature);
    if (weight >= open.min_p) kept.push_back({id, weight});
  }
  if (open.top_k > 0 && kept.size() > static_cast<size_t>(open.top_k)) kept.resize(open.top_k);
  double total = 0, cumulative = 0;
  for (const Kept& k : kept) total += k.weight;
  if (open.top_p < 1) {
    for (size_t i = 0; i < kept.size(); ++i) {
      cumulative += kept[i].weight;
      if (cumulative >= open.top_p * total) {
        kept.resize(i + 1);
        break;
      }
    }
  }
  return kept;
}

/// The walk; also how near the draw came to a boundary, where float and double may differ.
int32_t reference_draw(const std::vector<Kept>& kept, double u, double& nearness) {
  double total = 0, cumulative = 0;
  for (const Kept& k : kept) total += k.weight;
  nearness = 1;
  int32_t token = -1;
  for (const Kept& k : kept) {
    cumulative += k.weight;
    nearness = std::min(nearness, std::abs(cumulative / total - u));
    if (token < 0 && cumulative > u * total) token = k.token;
  }
  return token;
}

int32_t draw_token(const SlotOpen& open, std::span<const float> logits, int32_t position) {
  SamplerScratch scratch;
  return SamplerSlot(open).draw(logits, position, scratch).token;
}

}  // namespace

TEST_CASE("philox: the three known-answer vectors of Random123 for philox4x32-10") {
  using Block = std::array<uint32_t, 4>;
  CHECK(philox4x32_10({0, 0, 0, 0}, {0, 0}) ==
        Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const uint32_t ones = 0xffffffff;
  CHECK(philox4x32_10({ones, ones, ones, ones}, {ones, ones}) ==
        Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("philox: the uniform takes the top 53 bits of the first two words, key low word first") {
  CHECK(philox_uniform(0, 0, 0) == static_cast<double>(0xe169c58d6627e8d5u >> 11) / 0x1p53);
  const auto words = philox4x32_10({7, 3, 0, 0}, {0x9abcdef0, 0x12345678});
  const uint64_t bits = uint64_t{words[1]} << 32 | words[0];
  CHECK(philox_uniform(0x123456789abcdef0u, 7, 3) == static_cast<double>(bits >> 11) / 0x1p53);
}

TEST_CASE("exact_exp: within 2 ulp of the true value, 0 below -64, cut at 88") {
  for (int i = -6400; i <= 8800; ++i) {
    const float x = static_cast<float>(i) * 0.01f;
    const double truth = std::exp(static_cast<double>(x));
    CHECK(std::abs(exact_exp(x) - truth) <= 2.5e-7 * truth);
  }
  CHECK(exact_exp(0) == 1);
  CHECK(exact_exp(-64.01f) == 0);
  CHECK(exact_exp(-std::numeric_limits<float>::infinity()) == 0);
  CHECK(exact_exp(1000) == exact_exp(88));
}

TEST_CASE("exact_log: within 1e-15 of the true value over the whole range") {
  for (double x = 1e-300; x < 1e300; x *= 1.37) {
    const double truth = std::log(x);
    CHECK(std::abs(exact_log(x) - truth) <= 1e-15 * std::max(1.0, std::abs(truth)));
  }
  CHECK(exact_log(1) == 0);
}

TEST_CASE("logprobs: agree with a double-precision log softmax and rank ties by the lowest id") {
  std::mt19937 random(11);
  for (size_t vocab : {1u, 5u, 255u, 256u, 257u, 1000u, 49152u}) {
    const auto logits = random_logits(random, vocab, 4);
    const double max = *std::max_element(logits.begin(), logits.end());
    double total = 0;
    for (float z : logits) total += std::exp(z - max);
    SlotOpen open{.temperature = 0, .n_logprobs = 20};
    SamplerScratch scratch;
    const Drawn drawn = SamplerSlot(open).draw(logits, 0, scratch);
    std::vector<int32_t> order(vocab);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(),
              [&](int a, int b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
    REQUIRE(drawn.top.size() == std::min<size_t>(20, vocab));
    for (size_t i = 0; i < drawn.top.size(); ++i) {
      CHECK(drawn.top[i].token == order[i]);
      CHECK(drawn.top[i].logprob ==
            doctest::Approx(logits[order[i]] - max - std::log(total)).epsilon(1e-6));
    }
    CHECK(drawn.token == order[0]);
    CHECK(drawn.logprob == drawn.top[0].logprob);
  }
}

TEST_CASE("logprobs: come from raw logits, whatever the penalties, bias and temperature") {
  std::vector<float> logits(300, 0);
  logits[7] = 5;
  SamplerScratch scratch, other;
  const Drawn plain = SamplerSlot({.temperature = 0, .n_logprobs = 2}).draw(logits, 0, scratch);
  SlotOpen open{.n_prompt = 1, .temperature = 0, .repetition = 3, .n_logprobs = 2};
  open.bias = {{9, 50.0f}};
  open.history = {7};
  const Drawn biased = SamplerSlot(open).draw(logits, 0, other);
  CHECK(biased.token == 9);
  CHECK(biased.top.size() == 2);
  CHECK(std::ranges::equal(biased.top, plain.top));
  CHECK(biased.logprob == doctest::Approx(-std::log(std::exp(5.0) + 299)));
}

TEST_CASE("sampler: n_logprobs -1 computes none, 0 only the token's own") {
  const std::vector<float> logits{1, 2, 3};
  SamplerScratch scratch;
  CHECK(SamplerSlot({.temperature = 0, .n_logprobs = -1}).draw(logits, 0, scratch).logprob == 0);
  const Drawn own = SamplerSlot({.temperature = 0, .n_logprobs = 0}).draw(logits, 0, scratch);
  CHECK(own.logprob < 0);
  CHECK(own.top.empty());
}

TEST_CASE("sampler: greedy ties go to the lowest id") {
  const std::vector<float> logits{1, 4, 4, 4, 2};
  CHECK(draw_token({.temperature = 0}, logits, 0) == 1);
  CHECK(draw_token({.temperature = 1, .top_k = 1}, logits, 3) == 1);
}

TEST_CASE("sampler: a NaN or an infinity anywhere is flagged, never drawn") {
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity()}) {
    for (size_t place : {0u, 255u, 256u, 511u, 520u}) {
      std::vector<float> logits(521, 0.5f);
      logits[place] = bad;
      SamplerScratch scratch;
      CHECK(SamplerSlot({.temperature = 1}).draw(logits, 0, scratch).nonfinite);
      CHECK(SamplerSlot({.temperature = 0, .n_logprobs = -1}).draw(logits, 0, scratch).nonfinite);
    }
  }
}

TEST_CASE("sampler: a temperature whose inverse overflows is greedy") {
  CHECK(draw_token({.temperature = 1e-45f}, std::vector<float>{1, 3, 2}, 0) == 1);
}

TEST_CASE("sampler: equal (seed, position, choice) draw equal tokens; each of the three matters") {
  const std::vector<float> logits(4096, 0.0f);
  const SlotOpen open{.seed = 42, .choice = 1};
  const int32_t token = draw_token(open, logits, 10);
  CHECK(draw_token(open, logits, 10) == token);
  CHECK(draw_token(open, logits, 11) != token);
  CHECK(draw_token({.seed = 43, .choice = 1}, logits, 10) != token);
  CHECK(draw_token({.seed = 42 + (1ull << 32), .choice = 1}, logits, 10) != token);
  CHECK(draw_token({.seed = 42, .choice = 2}, logits, 10) != token);
}

TEST_CASE("sampler: reused scratch changes no draw") {
  std::mt19937 random(5);
  SamplerScratch shared;
  for (int i = 0; i < 50; ++i) {
    const auto logits = random_logits(random, 1 + random() % 700, 3);
    const SlotOpen open{.seed = random(), .top_p = 0.9f, .n_logprobs = 3};
    SamplerScratch fresh;
    const Drawn a = SamplerSlot(open).draw(logits, i, shared),
                b = SamplerSlot(open).draw(logits, i, fresh);
    CHECK(a.token == b.token);
    CHECK(std::ranges::equal(a.top, b.top));
  }
}

TEST_CASE("sampler: 200,000 draws fit the distribution (chi-square, fixed seed)") {
  const std::vector<float> logits{2.0f, 1.0f, 0.5f, 0.0f, -0.5f, -1.0f, 1.0f, -2.0f};
  const SlotOpen open{.seed = 2024, .temperature = 0.8f, .n_logprobs = -1};
  std::vector<double> expected(logits.size());
  double total = 0;
  for (size_t i = 0; i < logits.size(); ++i) total += expected[i] = std::exp(logits[i] / 0.8);
  constexpr int kDraws = 200'000;
  std::vector<int> seen(logits.size());
  const SamplerSlot slot(open);
  SamplerScratch scratch;
  for (int i = 0; i < kDraws; ++i) ++seen[slot.draw(logits, i, scratch).token];
  double chi2 = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double e = expected[i] / total * kDraws;
    chi2 += (seen[i] - e) * (seen[i] - e) / e;
  }
  CHECK(chi2 < 24.3);  // 7 degrees of freedom, p = 0.001
}

TEST_CASE("sampler: top_k, top_p and min_p keep exactly the tokens they should") {
  // Weights 8, 4, 2, 1, 1 of 16.
  std::vector<float> logits;
  for (double w : {1.0, 4.0, 8.0, 2.0, 1.0}) logits.push_back(static_cast<float>(std::log(w)));
  const auto support = [&](SlotOpen open) {
    open.n_logprobs = -1;
    std::vector<bool> seen(logits.size());
    SamplerScratch scratch;
    const SamplerSlot slot(open);
    for (int i = 0; i < 4000; ++i) seen[slot.draw(logits, i, scratch).token] = true;
    return seen;
  };
  using Seen = std::vector<bool>;
  CHECK(support({}) == Seen{true, true, true, true, true});
  CHECK(support({.top_k = 2}) == Seen{false, true, true, false, false});
  CHECK(support({.top_k = 4}) ==
        Seen{true, true, true, true, false});  // the tie goes to the lowest id
  CHECK(support({.top_p = 0.49f}) == Seen{false, false, true, false, false});
  CHECK(support({.top_p = 0.51f}) == Seen{false, true, true, false, false});
  CHECK(support({.top_p = 0.8f}) == Seen{false, true, true, true, false});
  CHECK(support({.min_p = 0.2f}) == Seen{false, true, true, true, false});
  CHECK(support({.min_p = 0.3f}) == Seen{false, true, true, false, false});
  // top_p counts within what top_k left: 8 of 12 is two thirds.
  CHECK(support({.top_p = 0.66f, .top_k = 2}) == Seen{false, false, true, false, false});
  CHECK(support({.top_p = 0.67f, .top_k = 2}) == Seen{false, true, true, false, false});
}

TEST_CASE(
    "sampler: repetition divides positive and multiplies negative logits of prompt and answer, "
    "once") {
  const SlotOpen open{.n_prompt = 2, .temperature = 0, .repetition = 2, .history = {0, 0, 2}};
  CHECK(draw_token(open, std::vector<float>{4, 2.1f, 4, 0}, 0) == 1);      // 4/2 = 2 < 2.1
  CHECK(draw_token(open, std::vector<float>{4, 1.9f, 4, 0}, 0) == 0);      // halved once, not twice
  CHECK(draw_token(open, std::vector<float>{-1, -1.9f, -1, -9}, 0) == 1);  // -2 < -1.9
}

TEST_CASE("sampler: presence and frequency count the answer only, also tokens accepted later") {
  SlotOpen open{.n_prompt = 2, .temperature = 0, .presence = 1, .history = {0, 0}};
  SamplerScratch scratch;
  SamplerSlot slot(open);
  const std::vector<float> logits{2, 1.5f};
  CHECK(slot.draw(logits, 2, scratch).token == 0);  // the prompt does not count
  slot.accept(0);
  CHECK(slot.draw(logits, 3, scratch).token == 1);  // 2 - 1 < 1.5
  SlotOpen often{.n_prompt = 0, .temperature = 0, .frequency = 0.3f, .history = {0}};
  SamplerSlot frequent(often);
  CHECK(frequent.draw(logits, 1, scratch).token == 0);  // 1.7
  frequent.accept(0);
  CHECK(frequent.draw(logits, 2, scratch).token == 1);  // 1.4
}

TEST_CASE("sampler: bias is added to its token and may forbid or force one") {
  SlotOpen open{.temperature = 0};
  open.bias = {{2, -100.0f}, {0, 100.0f}};
  CHECK(draw_token(open, std::vector<float>{0, 5, 90}, 0) == 0);
  open.bias = {{2, -100.0f}};
  CHECK(draw_token(open, std::vector<float>{0, 5, 90}, 0) == 1);
}

TEST_CASE("sampler: random parameters agree with the slow reference") {
  constexpr uint32_t kSeed = 77;
  INFO("seed " << kSeed);
  std::mt19937 random(kSeed);
  const auto uniform = [&](float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(random);
  };
  int compared = 0;
  for (int round = 0; round < 600; ++round) {
    const size_t vocab = 2 + random() % (round % 20 == 0 ? 49152 : 900);
    const auto logits = random_logits(random, vocab, uniform(0.1f, 5));
    SlotOpen open{.seed = random() * 0x100000001ull, .choice = static_cast<int32_t>(random() % 4)};
    open.temperature = uniform(0.1f, 2);
    if (random() % 2) open.top_p = uniform(0.05f, 1);
    if (random() % 2) open.min_p = uniform(0, 0.3f);
    if (random() % 2) open.top_k = static_cast<int32_t>(1 + random() % 300);
    if (random() % 2) open.repetition = uniform(0.6f, 1.8f);
    if (random() % 2) open.presence = uniform(-2, 2);
    if (random() % 2) open.frequency = uniform(-1, 1);
    if (random() % 2) open.bias = {{static_cast<int32_t>(random() % vocab), uniform(-5, 5)}};
    std::vector<int32_t> history(random() % 30);
    for (int32_t& token : history)
      token = static_cast<int32_t>(random() % std::min<size_t>(vocab, 50));
    open.n_prompt = history.empty() ? 0 : static_cast<int32_t>(random() % history.size());
    open.history = history;
    SamplerSlot slot(open);
    SamplerScratch scratch;
    for (int step = 0; step < 3; ++step) {
      const auto position = static_cast<int32_t>(history.size());
      const auto kept = reference_distribution(reference_adjust(logits, open, history), open);
      double nearness = 0;
      const int32_t expected =
          reference_draw(kept, philox_uniform(open.seed, position, open.choice), nearness);
      const int32_t token = slot.draw(logits, position, scratch).token;
      // Penalties make logits that float32 and double order differently at a tie, hence few skips.
      if (nearness > 1e-5) {
        ++compared;
        CHECK_MESSAGE(token == expected, "round " << round << " step " << step);
      }
      slot.accept(token);
      history.push_back(token);
    }
  }
  CHECK(compared > 1500);
}

}  // namespace sampler_test
