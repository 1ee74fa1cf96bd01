// The torch backend: a whole model in float32 on the CPU through ATen. Reference for the other
// backends; runs steps inside wait(), on the device lane's thread plus at most Budget::threads - 1
// helpers of ATen.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "model/partition.h"
#include "model/plan_check.h"
#include "model/step_answer.h"
#include "model/step_queue.h"
#include "model/torch/decoder.h"

namespace troupe::torch_backend {

class TorchPartition final : public Partition {
 public:
  Result<Capabilities> load(const WeightSource& weights, const ModelSpec& spec,
                            const PartitionPlan& plan, int rank, const Budget& budget) override;
  Ticket submit(const StepPlan& plan) override { return queue_.push(plan); }
  Result<const StepOutput*> wait(Ticket ticket, Duration timeout) override;
  void abort() noexcept override { queue_.abort(); }
  /// bytes: K [16, head_dim] then V [16, head_dim], float32.
  Result<void> export_block(BlockId block, BlockImage& image) override;
  Result<void> import_block(BlockId block, const BlockImage& image) override;

 private:
  Result<Capabilities> load_whole(const WeightSource& weights, const ModelSpec& spec,
                                  const Budget& budget);
  Result<void> run(const StepPlan& plan, Duration timeout);
  /// Logits of all rows that give output, some at a time, and the step's output from them.
  void answer_rows(const StepPlan& plan);
  Result<void> check_image(BlockId block, const BlockImage& image) const;

  ModelSpec spec_;
  Budget budget_;
  Digest kv_layout_id_{};
  std::optional<Decoder> decoder_;
  StepQueue queue_;
  PlanCheck check_;
  StepAnswer answer_;
  StepOutput output_;
};

}  // namespace troupe::torch_backend
