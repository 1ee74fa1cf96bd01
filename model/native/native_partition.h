// The native CPU backend: quantised weights, paged KV and sampler slots behind the Partition seam.
// Steps run inside wait() on the device lane's thread, with the pool's help. Deterministic: tokens
// and log-probabilities do not depend on batch, chunking, threads or instruction set (numeric
// contract: docs/performance.md). One rank a group so far.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "model/native/decoder.h"
#include "model/native/head.h"
#include "model/native/thread_pool.h"
#include "model/partition.h"
#include "model/plan_check.h"
#include "model/step_answer.h"
#include "model/step_queue.h"

namespace troupe::native {

class NativePartition final : public Partition {
 public:
  Result<Capabilities> load(const WeightSource& weights, const ModelSpec& spec,
                            const PartitionPlan& plan, int rank, const Budget& budget) override;
  Ticket submit(const StepPlan& plan) override { return queue_.push(plan); }
  Result<const StepOutput*> wait(Ticket ticket, Duration timeout) override;
  void abort() noexcept override { queue_.abort(); }
  Result<void> export_block(BlockId block, BlockImage& image) override;
  Result<void> import_block(BlockId block, const BlockImage& image) override;

 private:
  Result<void> run(const StepPlan& plan, Duration timeout);
  void list_rows(const StepPlan& plan);
  /// Of the rows whose logits the head has just computed.
  void answer_rows(const StepPlan& plan, int32_t first, int32_t count);

  StepQueue queue_;
  PlanCheck check_;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Decoder> decoder_;
  Head head_;
  StepAnswer answer_;
  std::vector<SequenceRows> sequences_;
  StepOutput output_;
};

}  // namespace troupe::native
