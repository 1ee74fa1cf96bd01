// Devices for live batchers in property tests. Whatever breaks the rules of model/step.h, or reads
// KV that is not the sequence's own, ends the program at hand or changes its tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include "model/partition.h"
#include "model/step.h"

namespace troupe::test {

struct DeviceLimits {
  int32_t blocks = 0, rows = 0, slots = 0, context = 0, lanes = 1;
  Budget budget() const {
    return {.threads = 1,
            .kv_blocks = blocks,
            .max_rows = rows,
            .max_slots = slots,
            .context = context};
  }
};

class Device {
 public:
  virtual ~Device() = default;
  virtual StepOutput run(const StepPlan& plan) = 0;
  virtual int32_t vocab() const = 0;
};

/// The oracle backend: the next token is a hash of the prefix.
std::unique_ptr<Device> make_oracle_device(const DeviceLimits& limits);

/// A model whose logits are a hash of the prefix, drawn from by the real sampler: seeds, choices,
/// penalties and log-probabilities count. With `loop` > 0 it mostly says the same `loop` tokens
/// again and again, so that drafts come true; what breaks the loop depends on all tokens before.
std::unique_ptr<Device> make_toy_device(const DeviceLimits& limits, int32_t loop);
inline constexpr int32_t kToyVocab = 24;

/// What the toy model says to a request, computed over the whole sequence at once: without blocks,
/// slots or steps.
struct ToyAnswer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
};
ToyAnswer toy_answer(const SlotOpen& slot, const std::vector<int32_t>& prompt, int32_t length,
                     int32_t loop);

}  // namespace troupe::test
