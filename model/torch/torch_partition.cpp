#include "model/torch/torch_partition.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <torch/version.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <fstream>
#include <new>
#include <string>

#include "model/numerics_id.h"

namespace troupe::torch_backend {

namespace {

using Clock = std::chrono::steady_clock;

/// The boundary of this folder: whatever torch throws becomes an error.
template <class Body>
auto guarded(Body body) -> decltype(body()) {
  try {
    const c10::InferenceMode inference;
    return body();
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::internal,
                "The torch backend ran out of memory: lower ctx, kv_memory or "
                "max_batch_tokens, or give the machine more memory.");
  } catch (const c10::Error& error) {
    return fail(ErrorCode::internal, std::string("The torch backend failed: ") +
                                         error.what_without_backtrace() +
                                         " The generation ends here; the log has more.");
  } catch (const std::exception& error) {
    return fail(ErrorCode::internal, std::string("The torch backend failed: ") + error.what() +
                                         " The generation ends here; the log has more.");
  }
}

/// What the sums of floats depend on, besides the weights: the kind of processor and its vector
/// width.
std::string device_name() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  std::string line, model = "cpu";
  while (std::getline(cpuinfo, line))
    if (line.starts_with("model name")) {
      model = line.substr(line.find(':') + 1);
      break;
    }
  return model + " " + at::get_cpu_capability();
}

Result<void> check_one_rank(const PartitionPlan& plan, int rank) {
  if (plan.ranks.size() == 1 && rank == 0) return {};
  return fail(ErrorCode::unsupported,
              "The torch backend runs a model on one rank a group so far: "
              "set tensor_parallel and pipeline_parallel to 1.");
}

}  // namespace

Result<Capabilities> TorchPartition::load(const WeightSource& weights, const ModelSpec& spec,
                                          const PartitionPlan& plan, int rank,
                                          const Budget& budget) {
  if (auto ok = check_one_rank(plan, rank); !ok) return std::unexpected(ok.error());
  if (auto ok = check_spec(spec); !ok) return std::unexpected(ok.error());
  if (budget.kv_blocks < 1 || budget.max_rows < 1 || budget.max_slots < 1 || budget.context < 1 ||
      budget.threads < 1)
    return fail(ErrorCode::invalid_argument,
                "The torch backend needs at least one thread, KV block, row, slot and position.");
  return guarded([&] { return load_whole(weights, spec, budget); });
}

Result<Capabilities> TorchPartition::load_whole(const WeightSource& weights, const ModelSpec& spec,
                                                const Budget& budget) {
  at::set_num_threads(budget.threads);
  auto loaded = load_weights(weights, spec, budget.threads);
  if (!loaded) return std::unexpected(loaded.error());
  spec_ = spec;
  budget_ = budget;
  decoder_.emplace(spec, std::move(*loaded), budget.kv_blocks, budget.max_rows, budget.context);
  check_ = PlanCheck(budget, spec.vocab);
  answer_ = StepAnswer(budget.max_slots, budget.max_rows, spec.vocab, 1);
  kv_layout_id_ = NumericsId()
                      .add("torch kv f32, K and V [16, head_dim]")
                      .add(static_cast<uint64_t>(spec.n_layers))
                      .add(static_cast<uint64_t>(spec.n_kv_heads))
                      .add(static_cast<uint64_t>(spec.head_dim))
                      .finish();
  Capabilities capabilities;
  capabilities.numerics_id = NumericsId()
                                 .add("torch f32")
                                 .add(weights.weights_id())
                                 .add(TORCH_VERSION)
                                 .add(device_name())
                                 .add(static_cast<uint64_t>(budget.threads))
                                 .finish();
  capabilities.kv_layout_id = kv_layout_id_;
  capabilities.max_rows = budget.max_rows;
  capabilities.max_slots = budget.max_slots;
  const int64_t kv_bytes =
      int64_t{budget.kv_blocks} * kBlockPositions * spec.kv_dim() * 2 * 4 * spec.n_layers;
  capabilities.describe = "torch " TORCH_VERSION " float32 on" + device_name() + ", " +
                          std::to_string(budget.threads) + " threads, " +
                          std::to_string(budget.kv_blocks) + " KV blocks (" +
                          std::to_string(kv_bytes >> 20) + " MiB), " +
                          numerics_text(capabilities.numerics_id);
  return capabilities;
}

Result<const StepOutput*> TorchPartition::wait(Ticket ticket, Duration timeout) {
  if (queue_.aborted()) return step_aborted();
  if (!decoder_) return fail(ErrorCode::internal, "A step was asked for before load().");
  const StepPlan* plan = queue_.pop(ticket);
  if (plan == nullptr)
    return fail(ErrorCode::internal, "wait() was called for a step that is not the oldest.");
  if (auto done = guarded([&] { return run(*plan, timeout); }); !done)
    return std::unexpected(done.error());
  return &output_;
}

Result<void> TorchPartition::run(const StepPlan& plan, Duration timeout) {
  const auto start = Clock::now();
  if (auto ok = check_.admit(plan); !ok) return ok;
  answer_.begin(plan);
  for (const BlockCopy& copy : plan.copy) decoder_->kv().copy(copy);

  const std::vector<int32_t>& resolved = check_.resolved_tokens(plan);
  std::vector<int32_t> tokens;
  std::vector<SequenceRows> sequences;
  for (const Slice& slice : plan.slices) {
    const auto* first = resolved.data() + slice.tok_off;
    sequences.push_back(
        {static_cast<int32_t>(tokens.size()), slice.n_rows, slice.pos0,
         std::span(plan.blocks)
             .subspan(static_cast<size_t>(slice.blk_off), static_cast<size_t>(slice.n_blk))});
    tokens.insert(tokens.end(), first, first + slice.n_rows);
  }
  const auto interrupt = [&]() -> Result<void> {
    if (queue_.aborted()) return step_aborted();
    if (Clock::now() - start > timeout)
      return fail(ErrorCode::deadline_exceeded, "The step took longer than its deadline.");
    return {};
  };
  if (auto ok = decoder_->forward(tokens, sequences, interrupt); !ok) return ok;
  const auto computed = Clock::now();

  answer_rows(plan);
  check_.produced(output_);
  const auto us = [](Clock::duration d) {
    return static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::microseconds>(d).count());
  };
  output_.phase_us[1] = us(computed - start);
  output_.phase_us[2] = us(Clock::now() - computed);
  return {};
}

void TorchPartition::answer_rows(const StepPlan& plan) {
  std::vector<int32_t> rows;  // of the step, that give output
  int32_t row0 = 0;
  for (const Slice& slice : plan.slices) {
    for (int32_t row = slice.out_row0; row < slice.n_rows && slice.out != Out::none; ++row)
      rows.push_back(row0 + row);
    row0 += slice.n_rows;
  }
  const auto vocab = static_cast<size_t>(spec_.vocab);
  std::vector<Largest> largest;
  for (size_t at = 0; at < rows.size(); at += Decoder::kLogitRowsMax) {
    const size_t count = std::min<size_t>(Decoder::kLogitRowsMax, rows.size() - at);
    const float* logits = decoder_->logits(std::span(rows).subspan(at, count)).data_ptr<float>();
    largest.clear();
    for (size_t i = 0; i < count; ++i)
      largest.push_back(exact_largest({logits + i * vocab, vocab}));
    const LogitRows run{.logits = logits,
                        .stride = spec_.vocab,
                        .first = static_cast<int32_t>(at),
                        .largest = largest};
    const StepAnswer::Jobs jobs = answer_.take(plan, run);
    for (int32_t job = 0; job < jobs.count; ++job) answer_.run(plan, run, job, 0);
  }
  answer_.write(plan, output_);
}

Result<void> TorchPartition::check_image(BlockId block, const BlockImage& image) const {
  if (!decoder_ || block.value < 0 || block.value >= budget_.kv_blocks)
    return fail(ErrorCode::invalid_argument, "There is no KV block " + std::to_string(block.value) +
                                                 ": name one below " +
                                                 std::to_string(budget_.kv_blocks) + ".");
  const size_t bytes =
      size_t{2} * kBlockPositions * static_cast<size_t>(spec_.head_dim) * sizeof(float);
  if (image.kv_layout_id != kv_layout_id_ || image.layer < 0 || image.layer >= spec_.n_layers ||
      image.kv_head < 0 || image.kv_head >= spec_.n_kv_heads || image.bytes.size() != bytes)
    return fail(ErrorCode::invalid_argument,
                "The KV image is not of this model's layout: recompute the block instead.");
  return {};
}

Result<void> TorchPartition::export_block(BlockId block, BlockImage& image) {
  if (image.kv_layout_id == Digest{}) image.kv_layout_id = kv_layout_id_;
  if (auto ok = check_image(block, image); !ok) return ok;
  const auto k = decoder_->kv().k_block(image.layer, image.kv_head, block.value);
  const auto v = decoder_->kv().v_block(image.layer, image.kv_head, block.value);
  std::memcpy(image.bytes.data(), k.data(), k.size_bytes());
  std::memcpy(image.bytes.data() + k.size_bytes(), v.data(), v.size_bytes());
  return {};
}

Result<void> TorchPartition::import_block(BlockId block, const BlockImage& image) {
  if (auto ok = check_image(block, image); !ok) return ok;
  const auto k = decoder_->kv().k_block(image.layer, image.kv_head, block.value);
  const auto v = decoder_->kv().v_block(image.layer, image.kv_head, block.value);
  std::memcpy(k.data(), image.bytes.data(), k.size_bytes());
  std::memcpy(v.data(), image.bytes.data() + k.size_bytes(), v.size_bytes());
  return {};
}

}  // namespace troupe::torch_backend
