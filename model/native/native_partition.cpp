#include "model/native/native_partition.h"

#include <array>
#include <bit>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "config/check.h"
#include "model/native/isa.h"
#include "model/native/self_test.h"
#include "model/numerics_id.h"

namespace troupe::native {

namespace {

using Clock = std::chrono::steady_clock;

/// Of the numeric contract (docs/performance.md); another number means other bits.
constexpr uint64_t kContractVersion = 2;

/// Aborted, or over its time: asked between layers.
class StepGuard final : public StepStop {
 public:
  StepGuard(const StepQueue& queue, Duration timeout)
      : queue_(queue), end_(Clock::now() + timeout) {}
  Result<void> check() const override {
    if (queue_.aborted()) return step_aborted();
    if (Clock::now() > end_)
      return fail(ErrorCode::deadline_exceeded, "The step took longer than its deadline.");
    return {};
  }

 private:
  const StepQueue& queue_;
  Clock::time_point end_;
};

Result<Isa> choose_isa(const std::string& asked) {
  if (asked.empty()) return best_isa();
  const auto isa = isa_named(asked);
  if (!isa)
    return fail(ErrorCode::invalid_argument,
                "There is no instruction set named '" + asked +
                    "': use scalar, avx2, avx512 or amx, or leave it out for the best one.",
                "isa");
  if (!can_run(*isa))
    return fail(ErrorCode::unsupported,
                "This processor has no " + asked + ": its best is " +
                    std::string(name_of(best_isa())) + ".",
                "isa");
  return *isa;
}

Result<void> check_budget(const Budget& budget) {
  if (budget.kv_blocks < 1 || budget.max_rows < 1 || budget.max_slots < 1 || budget.context < 1 ||
      budget.threads < 1)
    return fail(ErrorCode::invalid_argument,
                "The native backend needs at least one thread, KV block, row, slot and position.");
  return {};
}

NumericsId& add_spec(NumericsId& id, const ModelSpec& s) {
  for (int64_t n : {s.n_layers, s.hidden, s.ffn, s.n_heads, s.n_kv_heads, s.head_dim, s.vocab,
                    s.sliding_window})
    id.add(static_cast<uint64_t>(n));
  for (bool flag : {s.qkv_bias, s.o_bias, s.mlp_bias, s.qk_norm, s.tied_embeddings})
    id.add(uint64_t{flag});
  return id.add(std::bit_cast<uint32_t>(s.rms_eps));
}

/// N0: what the bits of an answer depend on.
Digest numerics_of(const WeightSource& weights, const ModelSpec& spec, const KvStore& kv,
                   const RopeTable& rope, uint64_t self_test) {
  NumericsId id;
  id.add("native").add(kContractVersion).add(weights.weights_id());
  add_spec(id, spec).add(kv.layout_id());
  return id.add(rope.checksum(spec.context)).add(self_test).finish();
}

}  // namespace

void PhaseTimer::ends(Phase phase) {
  const auto since = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start_);
  phase_us_[phase] += static_cast<uint32_t>(since.count()) - counted_;
  counted_ = static_cast<uint32_t>(since.count());
}

Result<Capabilities> NativePartition::load(const WeightSource& weights, const ModelSpec& spec,
                                           const PartitionPlan& plan, int rank,
                                           const Budget& budget) {
  if (auto ok = check_budget(budget); !ok) return std::unexpected(ok.error());
  if (auto ok = check_spec(spec); !ok) return std::unexpected(ok.error());
  if (auto ok = steps_.join(plan, rank, budget, spec.vocab); !ok)
    return std::unexpected(ok.error());
  RankGroup& group = steps_.group();
  queue_.serve_stages(group.stages());
  const auto isa = choose_isa(budget.isa);
  if (!isa) return std::unexpected(isa.error());
  pool_ = std::make_unique<ThreadPool>(budget.threads);
  const MatmulFn matmul = matmul_for(*isa);
  const VectorKernels& kernels = vector_kernels_for(*isa);
  const KvFormat kv = budget.kv_type == KvType::int8 ? KvFormat::int8 : KvFormat::f16;
  auto decoder = Decoder::make(weights, spec, plan, rank, group.alone() ? nullptr : &group, budget,
                               kv, matmul, kernels, *pool_);
  if (!decoder) return std::unexpected(decoder.error());
  decoder_ = std::move(*decoder);
  if (group.last_stage()) {
    const RowRange own = plan.ranks[static_cast<size_t>(rank)].vocab;
    const RowRange kept = group.draws() ? RowRange{0, spec.vocab} : own;
    auto head = Head::make(decoder_->weights().head, own, kept, matmul, kernels);
    if (!head) return std::unexpected(head.error());
    head_ = std::move(*head);
    answer_ = StepAnswer(budget.max_slots, budget.max_rows, spec.vocab, pool_->threads());
    std::vector<RowRange> vocab;
    for (int32_t tp = 0; tp < plan.tensor_parallel; ++tp)
      vocab.push_back(plan.ranks[static_cast<size_t>(tp)].vocab);
    head_gather_ = HeadGather(group, *pool_, std::move(vocab));
  }
  sequences_.reserve(static_cast<size_t>(budget.max_slots));

  Capabilities c;
  c.numerics_id =
      numerics_of(weights, spec, decoder_->kv(), decoder_->rope(), self_test_digest(*isa));
  c.kv_layout_id = decoder_->kv().layout_id();
  c.max_rows = budget.max_rows;
  c.max_slots = budget.max_slots;
  c.deterministic = true;
  c.describe =
      "native " + std::string(name_of(*isa)) +
      (budget.isa.empty() ? " (best of this processor), " : " (as asked), ") +
      (group.alone()
           ? std::string()
           : "rank " + std::to_string(rank) + " of " + std::to_string(plan.tensor_parallel) +
                 " x " + std::to_string(plan.pipeline_parallel) + ", ") +
      std::to_string(pool_->threads()) + " threads, " +
      std::to_string(decoder_->weights().memory.size() >> 20) + " MiB of weights, " +
      std::to_string(budget.kv_blocks) + " KV blocks of " +
      (kv == KvFormat::f16 ? "float16" : "int8") + " (" +
      std::to_string(decoder_->kv().bytes() >> 20) + " MiB), " + numerics_text(c.numerics_id);
  return c;
}

Result<const StepOutput*> NativePartition::wait(Ticket ticket, Duration timeout) {
  if (queue_.aborted()) return step_aborted();
  if (!decoder_) return fail(ErrorCode::internal, "A step was asked for before load().");
  if (!queue_.is_oldest(ticket))
    return fail(ErrorCode::internal, "wait() was called for a step that is not the oldest.");
  timer_ = PhaseTimer();
  if (auto done = steps_.finish_oldest(queue_, *this, timeout, output_); !done) {
    steps_.abort();
    return std::unexpected(done.error());
  }
  queue_.pop(ticket);
  // Waiting for later stages is time of their layers.
  timer_.ends(steps_.group().draws() ? PhaseTimer::sampling : PhaseTimer::layers);
  output_.phase_us = timer_.phase_us();
  return &output_;
}

Result<void> NativePartition::follow(Duration idle) {
  if (queue_.aborted()) return step_aborted();
  if (!decoder_) return fail(ErrorCode::internal, "A step was asked for before load().");
  timer_ = PhaseTimer();
  auto done = steps_.follow(*this, idle, output_);
  if (!done) steps_.abort();
  return done;
}

Result<void> NativePartition::compute(const StepPlan& plan, std::span<const int32_t> tokens,
                                      Duration time) {
  const StepGuard guard(queue_, time);
  const bool last = steps_.group().last_stage();
  if (last) answer_.begin(plan);
  for (const BlockCopy& copy : plan.copy) decoder_->kv().copy(copy.src, copy.dst);
  list_rows(plan, tokens);
  timer_.ends(PhaseTimer::prepare);
  if (auto ok = decoder_->forward(sequences_, guard); !ok) return ok;
  timer_.ends(PhaseTimer::layers);
  return last ? compute_head(plan) : Result<void>{};
}

void NativePartition::list_rows(const StepPlan& plan, std::span<const int32_t> tokens) {
  sequences_.clear();
  for (const Slice& slice : plan.slices)
    sequences_.push_back({.tokens = tokens.data() + slice.tok_off,
                          .table = plan.blocks.data() + slice.blk_off,
                          .rows = slice.n_rows,
                          .position = slice.pos0,
                          .first_out = slice.out == Out::none ? slice.n_rows : slice.out_row0});
}

Result<void> NativePartition::compute_head(const StepPlan& plan) {
  const RankGroup& group = steps_.group();
  const Activations& hidden = decoder_->hidden();
  const Tiling& tiling = hidden.tiling();
  for (int32_t tile = 0; decoder_->hidden_rows() > 0 && tile < tiling.count;) {
    const int32_t count = Head::tiles_at_once(tiling, tile);
    head_.compute(*pool_, hidden, decoder_->hidden_rest(), tile, count);
    const int32_t first = tiling.first(tile);
    const int32_t end = tile + count < tiling.count ? tiling.first(tile + count) : tiling.rows;
    if (group.tensor_parallel() > 1)
      if (auto ok = head_gather_.run(head_, end - first,
                                     [&](int32_t row) { return answer_.needs(plan, first + row); });
          !ok)
        return ok;
    timer_.ends(PhaseTimer::head);
    if (group.draws()) answer_rows(plan, first, end - first);
    timer_.ends(PhaseTimer::sampling);
    tile += count;
  }
  if (group.draws()) answer_.write(plan, output_);
  return {};
}

void NativePartition::answer_rows(const StepPlan& plan, int32_t first, int32_t count) {
  std::array<Largest, Head::kRowsMax> largest;
  for (int32_t row = 0; row < count; ++row) largest[static_cast<size_t>(row)] = head_.best(row);
  const LogitRows rows{.logits = head_.logits(0).data(),
                       .stride = head_.stride(),
                       .first = first,
                       .largest = std::span(largest).first(static_cast<size_t>(count)),
                       .summaries = head_gather_.summaries()};
  const StepAnswer::Jobs jobs = answer_.take(plan, rows);
  const auto run = [&](int job, int thread) { answer_.run(plan, rows, job, thread); };
  if (jobs.costly) {
    pool_->run(jobs.count, run);
  } else {
    for (int job = 0; job < jobs.count; ++job) run(job, 0);
  }
}

Result<void> NativePartition::export_block(BlockId block, BlockImage& image) {
  if (!decoder_) return fail(ErrorCode::internal, "A KV block was asked for before load().");
  return decoder_->kv().export_block(block, image);
}

Result<void> NativePartition::import_block(BlockId block, const BlockImage& image) {
  if (!decoder_) return fail(ErrorCode::internal, "A KV block was given before load().");
  return decoder_->kv().import_block(block, image);
}

}  // namespace troupe::native
