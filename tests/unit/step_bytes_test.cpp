#include "model/step_bytes.h"

#include <doctest/doctest.h>

#include <bit>
#include <cstring>
#include <random>
#include <string>

#include "config/limits.h"
#include "model/step_frame.h"

using namespace troupe;

namespace step_bytes_test {
namespace {

class RandomStep {
 public:
  explicit RandomStep(uint64_t seed) : random_(seed) {}

  int32_t number(int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random_);
  }
  uint64_t word() { return random_(); }
  float real() { return std::bit_cast<float>(static_cast<uint32_t>(number(0, 1 << 30))); }
  std::vector<int32_t> numbers(int32_t most) {
    std::vector<int32_t> all(static_cast<size_t>(number(0, most)));
    for (int32_t& n : all) n = number(-5, 1 << 20);
    return all;
  }

  SlotOpen open() {
    SlotOpen o{.slot = number(0, 99), .seed = word(), .choice = number(0, 9)};
    o.n_prompt = number(0, 999);
    o.adapter = number(0, 3);
    o.temperature = real();
    o.top_p = real();
    o.min_p = real();
    o.repetition = real();
    o.presence = real();
    o.frequency = real();
    o.top_k = number(0, 50);
    o.n_logprobs = number(-1, 20);
    o.grammar = number(0, 2);
    for (int32_t i = number(0, 3); i > 0; --i) o.bias.emplace_back(number(0, 99), real());
    o.history = numbers(20);
    return o;
  }
  StepPlan plan() {
    StepPlan p;
    p.key = {word(), static_cast<uint32_t>(word()), static_cast<uint32_t>(word()), word(), word()};
    for (int32_t i = number(0, 3); i > 0; --i) p.open.push_back(open());
    p.close = numbers(4);
    for (int32_t i = number(0, 3); i > 0; --i) p.copy.push_back({number(0, 99), number(0, 99)});
    for (int32_t i = number(0, 9); i > 0; --i)
      p.slices.push_back({number(0, 99), number(0, 99), number(1, 99), number(0, 3), number(0, 99),
                          number(0, 99), number(0, 9), number(0, 99),
                          static_cast<Out>(number(0, 3)), number(0, 99)});
    p.tokens = numbers(300);
    p.blocks = numbers(900);
    p.score = numbers(9);
    p.bidirectional = number(0, 1) == 1;
    p.hash = hash_of(p);
    return p;
  }
  StepOutput output() {
    StepOutput o;
    o.key.step = word();
    o.plan_hash = word();
    for (int32_t i = number(0, 9); i > 0; --i) {
      SliceOut s{.slot = number(0, 99), .n_tokens = number(0, 4), .n_top = number(0, 2)};
      s.tok_off = static_cast<int32_t>(o.tokens.size());
      s.top_off = static_cast<int32_t>(o.top.size());
      s.score_off = static_cast<int32_t>(o.scores.size());
      s.flags = static_cast<uint32_t>(number(0, 3));
      for (int32_t t = 0; t < s.n_tokens; ++t) {
        o.tokens.push_back(number(0, 99));
        o.logprob.push_back(real());
        for (int32_t a = 0; a < s.n_top; ++a) o.top.push_back({number(0, 99), real()});
      }
      if (s.n_tokens == 0) o.scores.push_back(real());
      o.slices.push_back(s);
    }
    for (auto& us : o.phase_us) us = static_cast<uint32_t>(number(0, 99));
    return o;
  }

 private:
  std::mt19937_64 random_;
};

template <class Step>
std::vector<std::byte> bytes_of(const Step& step) {
  std::vector<std::byte> bytes;
  to_bytes(step, bytes);
  return bytes;
}

/// Whatever the bytes are: an error, or a step of which they are the bytes.
template <class Step>
void check_honest(std::span<const std::byte> bytes, int& accepted) {
  Step step;
  const auto parsed = parse_step(bytes, step);
  if (!parsed) {
    CHECK(parsed.error().code == ErrorCode::data_loss);
    return;
  }
  ++accepted;
  const auto again = bytes_of(step);
  CHECK(std::ranges::equal(again, bytes));
}

template <class Step>
void mutate(RandomStep& random, const std::vector<std::byte>& sound, int& accepted) {
  auto bytes = sound;
  for (int32_t n = random.number(1, 4); n > 0; --n) {
    const auto at = static_cast<size_t>(random.number(0, static_cast<int32_t>(bytes.size()) - 1));
    // Whole words of nonsense find counts sooner than single bits do.
    const auto word = static_cast<uint32_t>(random.number(0, 1) == 0 ? random.number(0, 9)
                                                                     : random.number(-9, 1 << 30));
    std::memcpy(bytes.data() + at, &word, std::min(sizeof word, bytes.size() - at));
  }
  check_honest<Step>(bytes, accepted);
}

}  // namespace

TEST_CASE("step bytes: no answer is larger than its plan allows") {
  StepPlan plan;
  StepOutput output;
  for (const int32_t rows : {1, 3, 40}) {
    plan.slices.push_back({.n_rows = rows + 2, .out_row0 = 2, .out = Out::sample});
    output.slices.push_back({.n_tokens = rows, .n_top = kTopLogprobsMax});
    output.tokens.insert(output.tokens.end(), static_cast<size_t>(rows), 7);
    output.logprob.insert(output.logprob.end(), static_cast<size_t>(rows), -1.0F);
    output.top.insert(output.top.end(), static_cast<size_t>(rows) * kTopLogprobsMax, {});
    CHECK(answer_bytes_max(plan) == bytes_of(output).size());
  }
  plan.slices.push_back({.n_rows = 9, .out_row0 = 9});
  output.slices.emplace_back();
  CHECK(answer_bytes_max(plan) == bytes_of(output).size());
  plan.slices.push_back({.n_rows = 5, .out = Out::score});
  output.slices.emplace_back();
  output.scores.resize(5);
  CHECK(answer_bytes_max(plan) >= bytes_of(output).size());
  plan.slices.push_back({.n_rows = 5, .out = Out::pooled});
  CHECK(answer_bytes_max(plan) == kStepBytesMax);
}

TEST_CASE("step bytes: plans and outputs arrive as they left") {
  const uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  RandomStep random(seed);
  StepPlan plan;
  StepOutput output;
  for (int round = 0; round < 200; ++round) {
    const StepPlan sent = random.plan();
    // Into a plan that still holds the one before.
    REQUIRE(parse_step(bytes_of(sent), plan).has_value());
    CHECK(hash_of(plan) == sent.hash);
    CHECK(plan.hash == sent.hash);
    CHECK(plan.open == sent.open);
    CHECK(plan.slices == sent.slices);
    const StepOutput drawn = random.output();
    REQUIRE(parse_step(bytes_of(drawn), output).has_value());
    CHECK(output.key == drawn.key);
    CHECK(output.plan_hash == drawn.plan_hash);
    CHECK(output.tokens == drawn.tokens);
    CHECK(output.logprob == drawn.logprob);
    CHECK(output.top == drawn.top);
    CHECK(output.scores == drawn.scores);
    CHECK(output.phase_us == drawn.phase_us);
    REQUIRE(output.slices.size() == drawn.slices.size());
    for (size_t i = 0; i < drawn.slices.size(); ++i)
      CHECK(output.slices[i].top_off == drawn.slices[i].top_off);
  }
}

TEST_CASE("step bytes: what is cut short, too long or of another kind is refused") {
  RandomStep random(7);
  const auto plan = bytes_of(random.plan());
  StepPlan into;
  for (size_t size = 0; size < plan.size(); ++size)
    REQUIRE_FALSE(parse_step(std::span(plan).first(size), into).has_value());
  auto longer = plan;
  longer.push_back(std::byte{});
  const auto refused = parse_step(longer, into);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().message.find("header") != std::string::npos);
  StepOutput output;
  CHECK_FALSE(parse_step(plan, output).has_value());
}

TEST_CASE("step bytes: damaged bytes give an error or exactly what they say") {
  const uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  RandomStep random(seed);
  int accepted = 0;
  for (int round = 0; round < 4'000; ++round) {
    mutate<StepPlan>(random, bytes_of(random.plan()), accepted);
    mutate<StepOutput>(random, bytes_of(random.output()), accepted);
  }
  // Some damage hits numbers that may be anything: else this test would see refusals alone.
  CHECK(accepted > 0);
}

TEST_CASE("step bytes: an output that points beyond its arrays is refused") {
  StepOutput output;
  output.slices = {{.slot = 1, .n_tokens = 2}};
  output.tokens = {5};
  StepOutput into;
  const auto refused = parse_step(bytes_of(output), into);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == ErrorCode::data_loss);
  CHECK(refused.error().message.find("beyond its own arrays") != std::string::npos);
  output.slices[0].n_tokens = 1;
  output.slices[0].n_top = 1 << 30;
  CHECK_FALSE(parse_step(bytes_of(output), into).has_value());
}

TEST_CASE("step frame: messages of any length take at most two transfers of known size") {
  for (const size_t size : {size_t{0}, size_t{1}, StepFrame::kFirstPart - 8,
                            StepFrame::kFirstPart - 7, size_t{100'000}}) {
    CAPTURE(size);
    std::vector<std::byte> message(size);
    for (size_t i = 0; i < size; ++i) message[i] = static_cast<std::byte>(i * 7);
    StepFrame sent, got;
    sent.clear();
    sent.append(message);
    sent.seal();
    for (int round = 0; round < 2; ++round) {  // the second time as a rank passes it on
      std::vector<std::vector<std::byte>> wire;
      StepFrame& from = round == 0 ? sent : got;
      REQUIRE(from.send([&](Buffer part) -> Result<void> {
        wire.emplace_back(part.bytes.begin(), part.bytes.end());
        return {};
      }));
      CHECK(wire.size() == (size + 8 <= StepFrame::kFirstPart ? 1 : 2));
      size_t next = 0;
      REQUIRE(got.receive([&](Buffer part) -> Result<void> {
        REQUIRE(next < wire.size());
        REQUIRE(part.bytes.size() == wire[next].size());
        std::ranges::copy(wire[next++], part.bytes.begin());
        return {};
      }));
      CHECK(std::ranges::equal(got.contents(), message));
    }
  }
}

TEST_CASE("step frame: an impossible length is refused before memory is taken for it") {
  StepFrame frame;
  const auto refused = frame.receive([](Buffer part) -> Result<void> {
    std::ranges::fill(part.bytes, std::byte{0xff});
    return {};
  });
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == ErrorCode::data_loss);
  CHECK(refused.error().message.find("impossible length") != std::string::npos);
}

}  // namespace step_bytes_test
