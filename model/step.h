// One step of the model as data: what the batcher asks (StepPlan) and what the head rank answers
// (StepOutput). C++20-clean, plain structs over flat arrays, so that later a plan can travel over a
// Collective as it lies in memory. The batcher alone decides; ranks decide nothing. Little-endian
// hosts only.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace troupe {

/// Positions in one KV block; a full block is the unit of prefix sharing, hashing and transfer.
inline constexpr int32_t kBlockPositions = 16;

/// Names one step. `step` counts the group's plans in the order in which every rank runs them.
/// `lane` is the pipeline micro-batch, below the number of stages: a lane's next plan starts when
/// the one before it has its answer, those of other lanes run meanwhile. `prev_hash` is the hash of
/// the lane's previous plan (0 for the first), so that two ranks that disagree about history notice
/// at once.
struct StepKey {
  uint64_t epoch = 0;  ///< incarnation of the batcher
  uint32_t generation = 0, lane = 0;
  uint64_t step = 0, prev_hash = 0;
  bool operator==(const StepKey&) const = default;
};

enum class Out : uint8_t {
  none,    ///< fill KV only
  sample,  ///< one token drawn for each output row
  score,   ///< log-probability of a given token for each output row (echo, NLL); nothing is drawn
  pooled,  ///< encoders: one vector a sequence
};

/// One sequence in one step: `n_rows` consecutive absolute positions from `pos0`.
///
/// Drafts (n_draft = k > 0) are guesses of what the model will say, checked in the same step. Then
/// out is `sample`, out_row0 = n_rows - 1 - k, all tokens of the slice are literal ids, and the
/// last k of them are the drafts. The device draws at output row 0 and goes on to the next output
/// row while the token drawn equals the draft that is fed there (next_row_counts), so it gives 1 to
/// k + 1 tokens: the drafts that were right and one more. Each draw is what a step of its own would
/// have drawn: SamplerSlot::draw at the row's absolute position + 1, then SamplerSlot::accept,
/// before the next row's draw. Rows behind the first wrong draft count for nothing: no draw, no
/// accept, no output, no flag. Their KV is written and worthless; the sequence's next slice starts
/// at pos0 + out_row0 + n_tokens and writes over it. The batcher never publishes such positions,
/// and no plan may refer to the output of a slice with drafts or name its slot before that output
/// is read.
struct Slice {
  int32_t slot = 0;     ///< dense; sampler state hangs on it (SlotOpen)
  int32_t pos0 = 0;     ///< absolute position of row 0
  int32_t n_rows = 0;   ///< >= 1
  int32_t n_draft = 0;  ///< the last n_draft rows feed drafts
  int32_t tok_off = 0;  ///< into StepPlan::tokens; a value >= 0 is an id, -1-r is the token sampled
                        ///< in slice r's last output row of this lane's previous StepOutput;
                        ///< slice r has no drafts
  int32_t blk_off = 0;  ///< into StepPlan::blocks
  int32_t n_blk = 0;    ///< the table covers [0, pos0 + n_rows); 0 for encoders
  int32_t out_row0 = 0;  ///< rows out_row0..n_rows-1 give output (== n_rows: none)
  Out out = Out::none;
  int32_t score_off = 0;  ///< Out::score: into StepPlan::score, one token id per output row
  bool operator==(const Slice&) const = default;
};

/// Copy a KV block before the step (copy-on-write).
struct BlockCopy {
  int32_t src = 0, dst = 0;
  bool operator==(const BlockCopy&) const = default;
};

/// Opens a slot: all the sampler needs. Travels once; the slot lives until closed.
struct SlotOpen {
  int32_t slot = 0;
  uint64_t seed = 0;
  int32_t choice = 0;  ///< index of this choice among the request's n
  int32_t n_prompt =
      0;  ///< ORIGINAL prompt length: penalties and logprob indices survive a failover
  int32_t adapter = 0;
  float temperature = 1, top_p = 1, min_p = 0, repetition = 1, presence = 0, frequency = 0;
  int32_t top_k = 0;  ///< 0: off
  int32_t n_logprobs =
      0;  ///< alternatives wanted per sampled token, <= 20; -1: not even the token's own
  int32_t grammar = 0;
  std::vector<std::pair<int32_t, float>> bias;  ///< (token id, added to its logit)
  std::vector<int32_t> history;  ///< prompt + accepted tokens, for penalties; empty if none is set
  bool operator==(const SlotOpen&) const = default;
};

/// Owned storage; a plan is built by the batcher, moved to the device lane and kept until its
/// output is read.
struct StepPlan {
  StepKey key;
  std::vector<SlotOpen> open;   ///< before the step
  std::vector<int32_t> close;   ///< before `open`
  std::vector<BlockCopy> copy;  ///< after `open`, before any row
  std::vector<Slice> slices;
  std::vector<int32_t> tokens, blocks, score;
  bool bidirectional = false;
  uint64_t hash = 0;  ///< hash_of(*this) without this field
};

/// Deterministic over the contents (config/mix.h).
uint64_t hash_of(const StepPlan& plan);

/// Out::sample: whether the output row behind `row` gives a token too, now that `row` drew `drawn`.
inline bool next_row_counts(const StepPlan& plan, const Slice& slice, int32_t row, int32_t drawn) {
  if (row + 1 >= slice.n_rows) return false;
  return slice.n_draft == 0 || plan.tokens[static_cast<size_t>(slice.tok_off + row + 1)] == drawn;
}

enum SliceFlag : uint32_t {
  kNonfinite = 1,    ///< a logit was NaN or infinite: a fault of the generation, never a token
  kGrammarDead = 2,  ///< no token is allowed
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
  bool operator==(const TokenLogprob&) const = default;
};

/// What one slice gave. `top` rows: n_logprobs alternatives for each token of the slice, best
/// first. With drafts: n_tokens is 1 + the drafts that were right; nothing of later rows.
struct SliceOut {
  int32_t slot = 0;
  int32_t n_tokens = 0, tok_off = 0;  ///< into StepOutput::tokens and ::logprob (Out::sample)
  int32_t top_off = 0,
          n_top = 0;      ///< into StepOutput::top: n_tokens (or scored rows) * n_top entries
  int32_t score_off = 0;  ///< into StepOutput::scores (Out::score), one per output row
  uint32_t flags = 0;
};

/// Made only by the head rank (last stage, TP rank 0). slices[i] answers plan.slices[i].
struct StepOutput {
  StepKey key;
  uint64_t plan_hash = 0;
  std::vector<SliceOut> slices;
  std::vector<int32_t> tokens;
  std::vector<float> logprob;  ///< of the drawn token, from raw logits
  std::vector<TokenLogprob> top;
  std::vector<float> pooled, scores;
  /// Microseconds: 0 prepare, 1 layers (with embedding), 2 head, 3 sampling; what is not told apart
  /// counts with the layers. Together all the time of the step. The others are 0.
  std::array<uint32_t, 8> phase_us{};
};

}  // namespace troupe
