// Drives a loaded Partition the way a batcher does, with random prompts and no scheduler, and times
// it: what `troupe bench` prints. Owned and used by one thread.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "config/result.h"
#include "config/time.h"
#include "model/partition.h"

namespace troupe {

class BenchSteps {
 public:
  /// `chunk`: rows of one sequence in a prefill step. Prompts are drawn from [0, vocab) by `seed`.
  BenchSteps(Partition& partition, int32_t vocab, int32_t chunk, uint64_t seed)
      : partition_(partition), vocab_(vocab), chunk_(chunk), seed_(seed) {}

  /// From the first plan to the first token of one prompt.
  Result<Duration> prefill(int32_t n_prompt);
  /// `batch` sequences of `n_prompt` tokens are prefilled untimed; then the time in which each
  /// generates `n_generate` more tokens, greedily. Plans leave one step ahead of the output they
  /// refer to, as in a server.
  Result<Duration> decode(int32_t batch, int32_t n_prompt, int32_t n_generate);

  /// KV blocks that prefill() and decode() of these sizes need.
  static int32_t blocks_for(int32_t batch, int32_t positions);

 private:
  /// Closes what the measurement before left open and opens slots 0..batch-1, greedy.
  void begin(int32_t batch, int32_t n_prompt, int32_t positions);
  /// Runs the prompt of one slot, chunk by chunk; the token sampled at its end.
  Result<int32_t> prefill_slot(int32_t slot, std::span<const int32_t> prompt);
  StepPlan decode_plan(std::span<const int32_t> tokens, int32_t position);
  void add(int32_t slot, int32_t pos0, std::span<const int32_t> tokens, Out out);
  StepPlan seal();
  Result<const StepOutput*> wait(Ticket ticket);

  Partition& partition_;
  int32_t vocab_, chunk_;
  uint64_t seed_, draws_ = 0;
  StepPlan next_;                 ///< under construction
  int32_t open_ = 0;              ///< slots 0..open_-1 are open
  int32_t blocks_of_slot_ = 0;    ///< slot s writes blocks [s * this, (s + 1) * this)
  uint64_t step_ = 1, hash_ = 0;  ///< of the next and of the last sealed plan
};

}  // namespace troupe
