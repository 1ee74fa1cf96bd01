// The native CPU backend: quantised weights, paged KV and sampler slots behind the Partition seam.
// Steps run inside wait() on the device lane's thread, with the pool's help. Deterministic: tokens
// and log-probabilities do not depend on batch, chunking, threads or instruction set (numeric
// contract: docs/performance.md), nor on how many ranks share the model.
//
// In a group of several ranks, rank 0 sends each plan, with what the step before it drew, to the
// ranks of its stage; the head rank draws. Who fails a step ends the group's calls, so that the
// others fail too and nobody waits.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "model/native/decoder.h"
#include "model/native/head.h"
#include "model/native/head_gather.h"
#include "model/native/thread_pool.h"
#include "model/partition.h"
#include "model/plan_check.h"
#include "model/plan_relay.h"
#include "model/rank_group.h"
#include "model/step_answer.h"
#include "model/step_queue.h"

namespace troupe::native {

class PhaseTimer;

class NativePartition final : public Partition {
 public:
  Result<Capabilities> load(const WeightSource& weights, const ModelSpec& spec,
                            const PartitionPlan& plan, int rank, const Budget& budget) override;
  Ticket submit(const StepPlan& plan) override { return queue_.push(plan); }
  Result<const StepOutput*> wait(Ticket ticket, Duration timeout) override;
  void abort() noexcept override {
    queue_.abort();
    group_.abort();
  }
  Result<void> export_block(BlockId block, BlockImage& image) override;
  Result<void> import_block(BlockId block, const BlockImage& image) override;
  Result<void> follow(Duration idle) override;

 private:
  Result<void> run(const StepPlan& plan, Duration timeout);
  Result<void> follow_step(Duration idle);
  /// This rank's part of an admitted plan.
  Result<void> compute(const StepPlan& plan, const StepStop& stop, PhaseTimer& timer);
  void list_rows(const StepPlan& plan);
  Result<void> compute_head(const StepPlan& plan, PhaseTimer& timer);
  /// Of the rows whose logits the head has just computed.
  void answer_rows(const StepPlan& plan, int32_t first, int32_t count);

  StepQueue queue_;
  RankGroup group_;
  PlanRelay relay_;
  PlanCheck check_;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Decoder> decoder_;
  Head head_;  ///< last stage
  HeadGather head_gather_;
  StepAnswer answer_;  ///< last stage
  std::vector<SequenceRows> sequences_;
  StepOutput output_;
};

}  // namespace troupe::native
