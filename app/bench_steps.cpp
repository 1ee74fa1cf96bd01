#include "app/bench_steps.h"

#include <array>
#include <chrono>
#include <numeric>

#include "config/limits.h"
#include "config/mix.h"

namespace troupe {

namespace {
using Clock = std::chrono::steady_clock;
}  // namespace

int32_t BenchSteps::blocks_for(int32_t batch, int32_t positions) {
  return batch * ((positions + kBlockPositions - 1) / kBlockPositions);
}

Result<Duration> BenchSteps::prefill(int32_t n_prompt) {
  begin(1, n_prompt, n_prompt);
  std::vector<int32_t> prompt(static_cast<size_t>(n_prompt));
  for (int32_t& token : prompt)
    token = static_cast<int32_t>(mix64(seed_, ++draws_) % static_cast<uint64_t>(vocab_));
  const auto start = Clock::now();
  const auto token = prefill_slot(0, prompt);
  if (!token) return std::unexpected(token.error());
  return Clock::now() - start;
}

Result<Duration> BenchSteps::decode(int32_t batch, int32_t n_prompt, int32_t n_generate) {
  begin(batch, n_prompt, n_prompt + n_generate);
  std::vector<int32_t> tokens, prompt(static_cast<size_t>(n_prompt));
  for (int32_t slot = 0; slot < batch; ++slot) {
    for (int32_t& token : prompt)
      token = static_cast<int32_t>(mix64(seed_, ++draws_) % static_cast<uint64_t>(vocab_));
    const auto token = prefill_slot(slot, prompt);
    if (!token) return std::unexpected(token.error());
    tokens.push_back(*token);
  }
  const auto start = Clock::now();
  std::array<StepPlan, 2> plans;  // a plan must outlive the wait for it
  plans[0] = decode_plan(tokens, n_prompt);
  // From here on each slot's token is what its slice sampled in the step before.
  for (int32_t slot = 0; slot < batch; ++slot) tokens[static_cast<size_t>(slot)] = -1 - slot;
  Ticket ticket = partition_.submit(plans[0]);
  for (int32_t i = 1; i <= n_generate; ++i) {
    Ticket ahead;
    if (i < n_generate) {
      StepPlan& plan = plans[static_cast<size_t>(i % 2)];
      plan = decode_plan(tokens, n_prompt + i);
      ahead = partition_.submit(plan);
    }
    const auto output = wait(ticket);
    if (!output) return std::unexpected(output.error());
    ticket = ahead;
  }
  return Clock::now() - start;
}

void BenchSteps::begin(int32_t batch, int32_t n_prompt, int32_t positions) {
  for (int32_t slot = 0; slot < open_; ++slot) next_.close.push_back(slot);
  for (int32_t slot = 0; slot < batch; ++slot)
    next_.open.push_back({.slot = slot, .n_prompt = n_prompt, .temperature = 0, .n_logprobs = -1});
  open_ = batch;
  blocks_of_slot_ = blocks_for(1, positions);
}

Result<int32_t> BenchSteps::prefill_slot(int32_t slot, std::span<const int32_t> prompt) {
  for (size_t at = 0;;) {
    const size_t rows = std::min(prompt.size() - at, static_cast<size_t>(chunk_));
    const bool last = at + rows == prompt.size();
    add(slot, static_cast<int32_t>(at), prompt.subspan(at, rows), last ? Out::sample : Out::none);
    const StepPlan plan = seal();
    const auto output = wait(partition_.submit(plan));
    if (!output) return std::unexpected(output.error());
    if (last) return (*output)->tokens.at(0);
    at += rows;
  }
}

StepPlan BenchSteps::decode_plan(std::span<const int32_t> tokens, int32_t position) {
  for (size_t slot = 0; slot < tokens.size(); ++slot)
    add(static_cast<int32_t>(slot), position, tokens.subspan(slot, 1), Out::sample);
  return seal();
}

void BenchSteps::add(int32_t slot, int32_t pos0, std::span<const int32_t> tokens, Out out) {
  Slice slice;
  slice.slot = slot;
  slice.pos0 = pos0;
  slice.n_rows = static_cast<int32_t>(tokens.size());
  slice.tok_off = static_cast<int32_t>(next_.tokens.size());
  slice.blk_off = static_cast<int32_t>(next_.blocks.size());
  slice.n_blk = blocks_for(1, pos0 + slice.n_rows);
  slice.out = out;
  slice.out_row0 = out == Out::none ? slice.n_rows : slice.n_rows - 1;
  next_.tokens.insert(next_.tokens.end(), tokens.begin(), tokens.end());
  next_.blocks.resize(next_.blocks.size() + static_cast<size_t>(slice.n_blk));
  std::iota(next_.blocks.end() - slice.n_blk, next_.blocks.end(), slot * blocks_of_slot_);
  next_.slices.push_back(slice);
}

StepPlan BenchSteps::seal() {
  next_.key = {.epoch = 1, .generation = 1, .lane = 0, .step = step_++, .prev_hash = hash_};
  next_.hash = hash_ = hash_of(next_);
  return std::exchange(next_, StepPlan{});
}

Result<const StepOutput*> BenchSteps::wait(Ticket ticket) {
  return partition_.wait(ticket, kBenchStepTimeout);
}

}  // namespace troupe
