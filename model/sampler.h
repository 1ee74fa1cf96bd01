// Draws tokens from logits: N13-N15 of docs/performance.md. Pure functions of (logits, slot state,
// absolute position), so any worker redraws the same token.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "model/exact_math.h"
#include "model/logit_summary.h"
#include "model/step.h"

namespace troupe {

/// Raw log-probability of one token and the best alternatives (ties to the lowest id).
struct Drawn {
  int32_t token = 0;
  float logprob =
      0;  ///< of `token`, from raw logits (before penalties and temperature); 0 if not wanted
  /// n_logprobs entries (at most the vocabulary), best first; in the scratch, until its next draw.
  std::span<const TokenLogprob> top;
  bool nonfinite = false;  ///< a logit was NaN or infinite; token is then meaningless
};

/// Reused between draws so that a draw allocates nothing once warm. One per thread that draws.
struct SamplerScratch {
  std::vector<float> logits, weights;
  std::vector<int32_t> band;     ///< room for the vocabulary
  std::vector<uint64_t> walked;  ///< tokens in the order of N15, as far as a draw had to go
  std::vector<BlockSum> blocks;
  std::vector<TokenLogprob> top;
};

/// Sampler state of one open slot: parameters plus token counts for penalties.
class SamplerSlot {
 public:
  /// Token ids in `open.bias` and `open.history` must be below the vocabulary (the batcher's
  /// promise).
  explicit SamplerSlot(SlotOpen open);

  /// `position`: absolute position of the token being drawn (its index in prompt + answer).
  /// `logits`: [vocab], not changed. Order: repetition penalty (as Hugging Face: over prompt and
  /// answer, a positive logit is divided, else multiplied), presence and frequency (as OpenAI: over
  /// the answer only), bias, temperature, min_p, top_k, top_p. Temperature 0 takes the largest,
  /// ties to the lowest id.
  Drawn draw(std::span<const float> logits, int32_t position, SamplerScratch& scratch) const;
  /// The same draw from what needs() asks for, if that is a summary. Logits are finite.
  Drawn draw(const LogitSummary& summary, int32_t position, SamplerScratch& scratch) const;
  /// What a draw needs. All logits: with a penalty or bias, and at a temperature without a top_k
  /// of at most kSummaryTopMax, because N15 sums the weights of all tokens.
  RowNeeds needs() const;
  /// Tells the slot which token was accepted, so that penalties count it.
  void accept(int32_t token);

  const SlotOpen& parameters() const { return open_; }

 private:
  struct Count {
    bool in_prompt = false;
    int32_t generated = 0;
  };
  std::span<const float> adjusted(std::span<const float> logits, SamplerScratch& scratch) const;
  /// N15 at a temperature; `best` is the largest of `z`.
  int32_t draw_from(std::span<const float> z, int32_t best, float inverse_temperature,
                    int32_t position, SamplerScratch& scratch) const;
  int32_t draw_from(std::span<const TokenLogprob> top, float inverse_temperature, int32_t position,
                    SamplerScratch& scratch) const;
  bool greedy() const;
  bool few() const;  ///< a top_k so small that the largest few logits decide a draw
  double uniform(int32_t position) const;

  SlotOpen open_;  ///< without `history`, which counts_ replaces
  bool penalises_ = false;
  std::unordered_map<int32_t, Count> counts_;  ///< only when a penalty is set
};

/// log softmax of raw logits by N14: blocks of 256 ids, double accumulation across blocks.
struct LogNormaliser {
  float max = 0;
  double log_total = 0;
  bool nonfinite = false;
  float logprob(float logit) const;
};
LogNormaliser normalise(std::span<const float> logits, std::vector<BlockSum>& scratch);
LogNormaliser normalise(std::span<const BlockSum> blocks);

/// Fills `top` with the most likely tokens, best first, ties to the lowest id. At most
/// logits.size() are asked for.
void top_logprobs(std::span<const float> logits, const LogNormaliser& normaliser,
                  std::span<TokenLogprob> top);
void top_logprobs(const LogitSummary& summary, const LogNormaliser& normaliser,
                  std::span<TokenLogprob> top);

}  // namespace troupe
