// The native CPU backend: quantised weights, paged KV and sampler slots behind the Partition seam.
// Steps run inside wait() on the device lane's thread, with the pool's help. Deterministic: tokens
// and log-probabilities do not depend on batch, chunking, threads or instruction set (numeric
// contract: docs/performance.md), nor on how many ranks share the model.
//
// In a group of several ranks RankSteps says who does what when; the head rank draws. Who fails a
// step ends the group's calls, so that the others fail too and nobody waits.
#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <span>
#include <vector>

#include "model/native/decoder.h"
#include "model/native/head.h"
#include "model/native/head_gather.h"
#include "model/native/thread_pool.h"
#include "model/partition.h"
#include "model/rank_steps.h"
#include "model/step_answer.h"
#include "model/step_queue.h"

namespace troupe::native {

/// Gives the time of a step to its phases. Each begins where the one before ended, in whole
/// microseconds since the start: nothing is lost to rounding, however short a phase is.
class PhaseTimer {
 public:
  enum Phase : uint8_t { prepare, layers, head, sampling };  ///< places in StepOutput::phase_us
  void ends(Phase phase);
  const std::array<uint32_t, 8>& phase_us() const { return phase_us_; }

 private:
  using Clock = std::chrono::steady_clock;
  std::array<uint32_t, 8> phase_us_{};
  Clock::time_point start_ = Clock::now();
  uint32_t counted_ = 0;
};

class NativePartition final : public Partition, private RankWork {
 public:
  Result<Capabilities> load(const WeightSource& weights, const ModelSpec& spec,
                            const PartitionPlan& plan, int rank, const Budget& budget) override;
  Ticket submit(const StepPlan& plan) override { return queue_.push(plan); }
  Result<const StepOutput*> wait(Ticket ticket, Duration timeout) override;
  void abort() noexcept override {
    queue_.abort();
    steps_.abort();
  }
  Result<void> export_block(BlockId block, BlockImage& image) override;
  Result<void> import_block(BlockId block, const BlockImage& image) override;
  Result<void> follow(Duration idle) override;

 private:
  Result<void> compute(const StepPlan& plan, std::span<const int32_t> tokens,
                       Duration time) override;
  Result<void> hand_over() override { return decoder_->hand_over(); }
  void list_rows(const StepPlan& plan, std::span<const int32_t> tokens);
  Result<void> compute_head(const StepPlan& plan);
  /// Of the rows whose logits the head has just computed.
  void answer_rows(const StepPlan& plan, int32_t first, int32_t count);

  StepQueue queue_;
  RankSteps steps_;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Decoder> decoder_;
  Head head_;  ///< last stage
  HeadGather head_gather_;
  StepAnswer answer_;  ///< last stage
  std::vector<SequenceRows> sequences_;
  StepOutput output_;
  PhaseTimer timer_;  ///< of the call at hand
};

}  // namespace troupe::native
