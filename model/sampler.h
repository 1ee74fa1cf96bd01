// Draws tokens from logits: numerics.md N13-N15. Pure functions of (logits, slot state, absolute
// position), so any worker redraws the same token. Philox4x32-10 (Salmon et al. 2011) keyed by
// seed.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "model/step.h"

namespace troupe {

/// Raw log-probability of one token and the best alternatives (ties to the lowest id).
struct Drawn {
  int32_t token = 0;
  float logprob = 0;  ///< of `token`, from raw logits (before penalties and temperature)
  std::vector<TokenLogprob> top;  ///< n_logprobs entries, best first
  bool nonfinite = false;         ///< a logit was NaN or infinite; token is then meaningless
};

/// Sampler state of one open slot: parameters plus token counts for penalties.
class SamplerSlot {
 public:
  explicit SamplerSlot(const SlotOpen& open);

  /// `position`: absolute position of the token being drawn (index in prompt + answer).
  /// `logits`: [vocab], not changed.
  Drawn draw(std::span<const float> logits, int32_t position) const;
  /// Tell the slot which token was accepted, so that penalties count it.
  void accept(int32_t token);

  const SlotOpen& parameters() const { return open_; }

 private:
  SlotOpen open_;
  struct Count {
    int32_t prompt = 0, generated = 0;
  };
  std::unordered_map<int32_t, Count> counts_;  ///< only when a penalty is set
};

/// log softmax of raw logits for `token`, by N14: blocks of 256 ids, double accumulation across
/// blocks.
struct LogNormaliser {
  float max = 0;
  double log_total = 0;
  bool nonfinite = false;
  float logprob(float logit) const;
};
LogNormaliser normalise(std::span<const float> logits);

/// 53 uniform bits in [0, 1).
double philox_uniform(uint64_t seed, uint64_t position, uint32_t choice);

}  // namespace troupe
