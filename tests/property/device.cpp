#include "tests/property/device.h"

#include <algorithm>
#include <array>

#include "config/mix.h"
#include "model/oracle/oracle_partition.h"
#include "model/plan_check.h"
#include "model/step_answer.h"
#include "tests/property/property.h"

namespace troupe::test {

namespace {

class OracleDevice final : public Device {
 public:
  explicit OracleDevice(const DeviceLimits& limits) : partition_({.lanes = limits.lanes}) {
    const auto loaded = partition_.load(OracleWeights(), oracle_spec(), {.ranks = {RankPlan{}}}, 0,
                                        limits.budget());
    must(loaded.has_value(), "the oracle loads");
  }
  StepOutput run(const StepPlan& plan) override {
    const auto output = partition_.wait(partition_.submit(plan), 1s);
    if (!output) broken(output.error().message);
    return **output;
  }
  int32_t vocab() const override { return kOracleVocab; }

 private:
  OraclePartition partition_;
};

using Logits = std::array<float, kToyVocab>;

/// Behind a prefix with this hash; `position` is that of the token to draw.
Logits toy_logits(uint64_t prefix, int32_t position, int32_t loop) {
  Logits logits;
  for (size_t id = 0; id < logits.size(); ++id)
    logits[id] = static_cast<float>(mix64(prefix, id) % 6000) / 1000 - 3;
  if (loop > 0 && prefix % 8 != 0)
    logits[mix64(static_cast<uint64_t>(position % loop)) % logits.size()] += 9;
  return logits;
}

uint64_t toy_extend(uint64_t prefix, int32_t token) {
  return mix64(prefix, static_cast<uint64_t>(token));
}

class ToyDevice final : public Device {
 public:
  ToyDevice(const DeviceLimits& limits, int32_t loop)
      : loop_(loop),
        check_(limits.budget(), kToyVocab, limits.lanes),
        answer_(limits.slots, limits.rows, kToyVocab, 1),
        kv_(static_cast<size_t>(limits.blocks) * kBlockPositions, 0xdead) {}

  StepOutput run(const StepPlan& plan) override {
    if (auto sound = check_.admit(plan); !sound) broken(sound.error().message);
    answer_.begin(plan);
    for (const BlockCopy& copy : plan.copy)
      std::copy_n(at(copy.src, 0), kBlockPositions, at(copy.dst, 0));
    const std::vector<int32_t>& tokens = check_.resolved_tokens(plan);
    std::vector<Logits> logits;
    std::vector<Largest> largest;
    for (const Slice& slice : plan.slices) {
      const int32_t* table = plan.blocks.data() + slice.blk_off;
      for (int32_t row = 0; row < slice.n_rows; ++row) {
        const int32_t p = slice.pos0 + row;
        const uint64_t before =
            p == 0 ? 0 : *at(table[(p - 1) / kBlockPositions], (p - 1) % kBlockPositions);
        const uint64_t prefix =
            toy_extend(before, tokens[static_cast<size_t>(slice.tok_off + row)]);
        *at(table[p / kBlockPositions], p % kBlockPositions) = prefix;
        if (slice.out == Out::none || row < slice.out_row0) continue;
        logits.push_back(toy_logits(prefix, p + 1, loop_));
        largest.push_back(exact_largest(logits.back()));
      }
    }
    if (!logits.empty()) {
      const LogitRows rows{
          .logits = logits.front().data(), .stride = kToyVocab, .first = 0, .largest = largest};
      const StepAnswer::Jobs jobs = answer_.take(plan, rows);
      for (int32_t job = 0; job < jobs.count; ++job) answer_.run(plan, rows, job, 0);
    }
    StepOutput output;
    answer_.write(plan, output);
    check_.produced(output);
    return output;
  }
  int32_t vocab() const override { return kToyVocab; }

 private:
  uint64_t* at(int32_t block, int32_t i) {
    return kv_.data() + static_cast<size_t>(block) * kBlockPositions + static_cast<size_t>(i);
  }

  int32_t loop_;
  PlanCheck check_;
  StepAnswer answer_;
  std::vector<uint64_t> kv_;  ///< by block and position: hash of the prefix up to there
};

}  // namespace

std::unique_ptr<Device> make_oracle_device(const DeviceLimits& limits) {
  return std::make_unique<OracleDevice>(limits);
}

std::unique_ptr<Device> make_toy_device(const DeviceLimits& limits, int32_t loop) {
  return std::make_unique<ToyDevice>(limits, loop);
}

ToyAnswer toy_answer(const SlotOpen& open, const std::vector<int32_t>& prompt, int32_t length,
                     int32_t loop) {
  SamplerSlot slot(open);
  SamplerScratch scratch;
  ToyAnswer answer;
  uint64_t prefix = 0;
  for (int32_t token : prompt) prefix = toy_extend(prefix, token);
  for (int32_t i = 0; i < length; ++i) {
    const int32_t position = static_cast<int32_t>(prompt.size()) + i;
    const Drawn drawn = slot.draw(toy_logits(prefix, position, loop), position, scratch);
    slot.accept(drawn.token);
    answer.tokens.push_back(drawn.token);
    answer.logprobs.push_back(drawn.logprob);
    prefix = toy_extend(prefix, drawn.token);
  }
  return answer;
}

}  // namespace troupe::test
