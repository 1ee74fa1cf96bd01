#include "model/oracle/oracle_partition.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "model/numerics_id.h"

namespace troupe {

namespace {

constexpr float kOracleLogprob = -1;
constexpr size_t kImageBytes = (1 + kBlockPositions) * sizeof(uint64_t);

Digest kv_layout_id() { return NumericsId().add("oracle hash kv, 16 positions").finish(); }

}  // namespace

PartitionPlan oracle_plan(int32_t tensor_parallel, int32_t pipeline_parallel) {
  PartitionPlan plan;
  plan.tensor_parallel = tensor_parallel;
  plan.pipeline_parallel = pipeline_parallel;
  for (int32_t stage = 0; stage < pipeline_parallel; ++stage)
    for (int32_t tp = 0; tp < tensor_parallel; ++tp) {
      RankPlan rank = whole_model(oracle_spec()).ranks.front();
      rank.stage = stage;
      rank.tp = tp;
      plan.ranks.push_back(rank);
    }
  return plan;
}

Result<TensorInfo> OracleWeights::info(TensorId id) const {
  return fail(ErrorCode::not_found,
              "The oracle model has no tensor " + std::string(name_of(id.kind)) + ".");
}

Result<std::span<const std::byte>> OracleWeights::rows(TensorId id, RowRange) const {
  return std::unexpected(info(id).error());
}

Digest OracleWeights::weights_id() const {
  return NumericsId().add("oracle").add(model_seed_).finish();
}

Result<Capabilities> OraclePartition::load(const WeightSource&, const ModelSpec& spec,
                                           const PartitionPlan& plan, int rank,
                                           const Budget& budget) {
  if (spec.vocab != kOracleVocab)
    return fail(ErrorCode::invalid_argument,
                "The oracle backend needs its own model (source: oracle), not a vocabulary of " +
                    std::to_string(spec.vocab) + " tokens.");
  if (budget.kv_blocks < 1 || budget.max_rows < 1 || budget.max_slots < 1 || budget.context < 1)
    return fail(ErrorCode::invalid_argument,
                "The oracle backend needs at least one KV block, row, slot and position.");
  if (auto ok = steps_.join(plan, rank, budget, spec.vocab, options_.lanes); !ok)
    return std::unexpected(ok.error());
  queue_.serve_stages(std::max(options_.lanes, plan.pipeline_parallel));
  budget_ = budget;
  kv_ = HashKv(budget.kv_blocks);
  n_logprobs_.assign(static_cast<size_t>(budget.max_slots), -1);

  Capabilities capabilities;
  capabilities.numerics_id =
      NumericsId().add("oracle").add(uint64_t{kMixVersion}).add(options_.model_seed).finish();
  capabilities.kv_layout_id = kv_layout_id();
  capabilities.max_rows = budget.max_rows;
  capabilities.max_slots = budget.max_slots;
  capabilities.deterministic = true;
  capabilities.describe =
      "oracle: hash of the prefix, no weights, " +
      (steps_.group().alone()
           ? std::string()
           : "rank " + std::to_string(rank) + " of " + std::to_string(plan.tensor_parallel) +
                 " x " + std::to_string(plan.pipeline_parallel) + ", ") +
      std::to_string(budget.kv_blocks) + " KV blocks, " + numerics_text(capabilities.numerics_id);
  return capabilities;
}

Result<const StepOutput*> OraclePartition::wait(Ticket ticket, Duration timeout) {
  if (queue_.aborted()) return step_aborted();
  if (!queue_.is_oldest(ticket))
    return fail(ErrorCode::internal, "wait() was called for a step that is not the oldest.");
  if (options_.step_time > Duration{}) {
    if (!queue_.sleep(std::min(options_.step_time, timeout))) return step_aborted();
    if (options_.step_time > timeout)
      return fail(ErrorCode::deadline_exceeded, "The step took longer than its deadline.");
  }
  if (auto done = steps_.finish_oldest(queue_, *this, timeout, output_); !done) {
    steps_.abort();
    return std::unexpected(done.error());
  }
  queue_.pop(ticket);
  return &output_;
}

Result<void> OraclePartition::follow(Duration idle) {
  if (queue_.aborted()) return step_aborted();
  auto done = steps_.follow(*this, idle, output_);
  if (!done) steps_.abort();
  return done;
}

Result<void> OraclePartition::compute(const StepPlan& plan, std::span<const int32_t> tokens,
                                      Duration) {
  for (const SlotOpen& open : plan.open)
    n_logprobs_[static_cast<size_t>(open.slot)] = open.n_logprobs;
  for (const BlockCopy& copy : plan.copy) kv_.copy(copy);
  output_ = StepOutput{};
  output_.key = plan.key;
  output_.plan_hash = plan.hash;
  for (const Slice& slice : plan.slices)
    if (auto ok = run_slice(plan, slice, tokens); !ok) return ok;
  return {};
}

Result<void> OraclePartition::run_slice(const StepPlan& plan, const Slice& slice,
                                        std::span<const int32_t> tokens) {
  const std::span<const int32_t> table(plan.blocks.data() + slice.blk_off,
                                       static_cast<size_t>(slice.n_blk));
  const auto start = kv_.state_before(table, slice.pos0, oracle_root(options_.model_seed));
  if (!start) return std::unexpected(start.error());
  SliceOut out;
  out.slot = slice.slot;
  out.tok_off = static_cast<int32_t>(output_.tokens.size());
  out.top_off = static_cast<int32_t>(output_.top.size());
  out.score_off = static_cast<int32_t>(output_.scores.size());
  uint64_t state = *start;
  bool counts = true;
  for (int32_t row = 0; row < slice.n_rows; ++row) {
    const uint64_t before = state;
    state = oracle_extend(state, tokens[static_cast<size_t>(slice.tok_off + row)]);
    kv_.write(table, slice.pos0 + row, before, state);
    // Rows behind a wrong draft fill KV that the next slice writes over.
    if (row >= slice.out_row0 && counts) {
      give_output(slice, state, out);
      counts = slice.out != Out::sample || next_row_counts(plan, slice, row, output_.tokens.back());
    }
  }
  output_.slices.push_back(out);
  return {};
}

void OraclePartition::give_output(const Slice& slice, uint64_t state, SliceOut& out) {
  if (slice.out == Out::none) return;
  const int32_t token = oracle_next(state);
  if (slice.out == Out::sample) {
    output_.tokens.push_back(token);
    output_.logprob.push_back(kOracleLogprob);
    ++out.n_tokens;
  } else {
    output_.scores.push_back(kOracleLogprob);
  }
  out.n_top = std::max(n_logprobs_[static_cast<size_t>(slice.slot)], 0);
  for (int32_t i = 0; i < out.n_top; ++i)
    output_.top.push_back({(token + i) % kOracleVocab, kOracleLogprob - static_cast<float>(i)});
}

Result<void> OraclePartition::check_image(BlockId block, const BlockImage& image) const {
  if (block.value < 0 || block.value >= budget_.kv_blocks)
    return fail(ErrorCode::invalid_argument, "There is no KV block " + std::to_string(block.value) +
                                                 ": name one below " +
                                                 std::to_string(budget_.kv_blocks) + ".");
  if (image.kv_layout_id != kv_layout_id() || image.layer != 0 || image.kv_head != 0 ||
      image.bytes.size() != kImageBytes)
    return fail(ErrorCode::invalid_argument,
                "The KV image is not of the oracle's layout: recompute the block instead.");
  return {};
}

Result<void> OraclePartition::export_block(BlockId block, BlockImage& image) {
  if (image.kv_layout_id == Digest{}) image.kv_layout_id = kv_layout_id();
  if (auto ok = check_image(block, image); !ok) return ok;
  std::memcpy(image.bytes.data(), &kv_.block(block.value), kImageBytes);
  return {};
}

Result<void> OraclePartition::import_block(BlockId block, const BlockImage& image) {
  if (auto ok = check_image(block, image); !ok) return ok;
  HashKv::Block restored;
  static_assert(sizeof(restored) == kImageBytes);
  std::memcpy(&restored, image.bytes.data(), kImageBytes);
  kv_.restore(block.value, restored);
  return {};
}

}  // namespace troupe
