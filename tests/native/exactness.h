// Drives a Partition as a capricious batcher would (random batches, chunks, preemption, shared
// prefixes, references to the step before, drafts, plans of several lanes in flight) and says
// whether every answer is bit for bit the one of a plain run. Results do not pass through a
// batcher, so that nothing hides a difference.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "model/partition.h"
#include "model/step.h"

namespace troupe::test {

/// A request and what a run of it gave.
struct ExactRequest {
  std::vector<int32_t> prompt;
  int32_t answer = 0;  ///< tokens to generate
  SlotOpen sampling;   ///< slot, n_prompt and history are filled by the runs
};
struct ExactAnswer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<TokenLogprob> top;
  bool operator==(const ExactAnswer&) const = default;
};

/// Appends what slice `index` of a step gave.
void take(const StepOutput& output, size_t index, ExactAnswer& answer);

/// Alone, the prompt in one chunk, then token by token; no references, drafts or sharing.
std::vector<ExactAnswer> run_plain(Partition& partition, const std::vector<ExactRequest>& requests);

/// How the capricious run behaves.
struct Caprice {
  uint64_t seed = 0;
  int32_t kv_blocks = 0, max_rows = 0, max_slots = 0;  ///< of the partition's budget
  int32_t lanes = 1;                                   ///< at most the stages of its pipeline
};
/// All requests at once in a random order of everything. `expected` feeds right and wrong drafts.
std::vector<ExactAnswer> run_capricious(Partition& partition,
                                        const std::vector<ExactRequest>& requests,
                                        const std::vector<ExactAnswer>& expected, Caprice caprice);

/// Where two runs part, in words; empty when they are equal to the last bit.
std::string difference(const std::vector<ExactAnswer>& a, const std::vector<ExactAnswer>& b);

}  // namespace troupe::test
