// The oracle backend: next token = hash of the prefix, no weights. Makes every stream self-checking
// (oracle_reference.h) and checks the batcher hard: see plan_check.h and hash_kv.h. Bit-equal
// whatever the batch. In a group of several ranks each computes everything, and rank 0 gives the
// answer of the head rank: plans, answers and faults go the ways they go between ranks that share a
// model.
#pragma once

#include <span>
#include <vector>

#include "model/oracle/hash_kv.h"
#include "model/oracle/oracle_reference.h"
#include "model/partition.h"
#include "model/rank_steps.h"
#include "model/step_queue.h"

namespace troupe {

struct OracleOptions {
  uint64_t model_seed = kOracleSeed;
  Duration step_time{};  ///< how long a step pretends to take; abort() ends it early
  int32_t lanes = 1;     ///< takes plans as the first rank of a pipeline of so many stages does
};

/// A plan for any number of ranks, both at least 1; each holds the whole oracle.
PartitionPlan oracle_plan(int32_t tensor_parallel, int32_t pipeline_parallel);

/// A model file without tensors; its id says which oracle it is.
class OracleWeights final : public WeightSource {
 public:
  explicit OracleWeights(uint64_t model_seed = kOracleSeed) : model_seed_(model_seed) {}
  Result<TensorInfo> info(TensorId id) const override;
  Result<std::span<const std::byte>> rows(TensorId id, RowRange range) const override;
  Digest weights_id() const override;

 private:
  uint64_t model_seed_;
};

class OraclePartition final : public Partition, private RankWork {
 public:
  explicit OraclePartition(OracleOptions options = {}) : options_(options) {}

  Result<Capabilities> load(const WeightSource& weights, const ModelSpec& spec,
                            const PartitionPlan& plan, int rank, const Budget& budget) override;
  Ticket submit(const StepPlan& plan) override { return queue_.push(plan); }
  Result<const StepOutput*> wait(Ticket ticket, Duration timeout) override;
  void abort() noexcept override {
    queue_.abort();
    steps_.abort();
  }
  /// bytes: 8 for the state before the block, then 8 for each position.
  Result<void> export_block(BlockId block, BlockImage& image) override;
  Result<void> import_block(BlockId block, const BlockImage& image) override;
  Result<void> follow(Duration idle) override;

 private:
  /// All of an admitted plan, on every rank.
  Result<void> compute(const StepPlan& plan, std::span<const int32_t> tokens,
                       Duration time) override;
  Result<void> hand_over() override { return {}; }
  Result<void> run_slice(const StepPlan& plan, const Slice& slice, std::span<const int32_t> tokens);
  void give_output(const Slice& slice, uint64_t state, SliceOut& out);
  Result<void> check_image(BlockId block, const BlockImage& image) const;

  OracleOptions options_;
  Budget budget_;
  StepQueue queue_;
  RankSteps steps_;
  HashKv kv_;
  std::vector<int32_t> n_logprobs_;  ///< by slot
  StepOutput output_;
};

}  // namespace troupe
