#include "cluster/load_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "config/limits.h"
#include "model/native/kv_layout.h"

namespace troupe {

namespace {

/// Sizes that suit a backend when nothing else is asked for.
struct Defaults {
  int64_t kv_memory;
  int32_t max_rows, max_slots, prefill_chunk;
  Duration canary;
};

// torch: a chunk of 128 rows keeps the p99 of a step of a 135M model under 250 ms on two cores.
constexpr Defaults kTorch{kGiB, 256, 64, 128, kCanaryTorch};
// native: a step of 512 rows of a 135M model takes some 0.2 s on two cores; while others decode,
// the learnt budget keeps steps far shorter.
constexpr Defaults kNative{kGiB, 512, 128, 512, kCanaryNative};
// oracle: 256 streams with prompts fit without queueing; its KV is one hash a position.
constexpr Defaults kOracle{0, 2048, kSlotsMax, 512, kCanaryNative};
constexpr int32_t kOracleBlocks = 16'384;

const Defaults& defaults_of(const std::string& backend) {
  if (backend == "oracle") return kOracle;
  return backend == "torch" ? kTorch : kNative;
}

/// Of a block of the rank's layers and heads.
int64_t kv_block_bytes(const ModelSpec& s, const std::string& backend, KvType type,
                       const RankPlan& rank) {
  if (backend == "oracle") return 0;
  if (backend == "torch") return int64_t{2} * 4 * s.n_layers * s.kv_dim() * kBlockPositions;
  const native::KvLayout layout{
      .format = type == KvType::int8 ? native::KvFormat::int8 : native::KvFormat::f16,
      .head_dim = s.head_dim,
      .kv_heads = static_cast<int32_t>(rank.kv_heads.size()),
      .layers = rank.last_layer - rank.first_layer};
  return layout.block_bytes();
}

int64_t weights_in_float32(const ModelSpec& s) {
  const int64_t layer = int64_t{s.hidden} * (s.q_dim() + 2 * s.kv_dim()) +
                        int64_t{s.q_dim()} * s.hidden + 3 * int64_t{s.hidden} * s.ffn;
  return 4 * (s.n_layers * layer + int64_t{s.vocab} * s.hidden * (s.tied_embeddings ? 1 : 2));
}

Result<void> check_ranks(const LoadOrder& order, const std::string& backend) {
  if (backend != "torch") return {};
  for (const auto& [field, value] : {std::pair{"tensor_parallel", order.tensor_parallel},
                                     {"pipeline_parallel", order.pipeline_parallel}})
    if (value != 1)
      return fail(ErrorCode::unsupported,
                  fmt::format("model {}: {} is {}, but the torch backend runs one rank a group; "
                              "use backend: native or set it to 1",
                              order.model, field, value),
                  field);
  return {};
}

/// Words for whose memory ended, and what else may be done about it.
struct OwnerOfMemory {
  const char* owner;
  const char* way_out;
};
OwnerOfMemory owner_of(MemoryLimit limit) {
  if (limit == MemoryLimit::machine) return {"this machine", ""};
  return {"this container (its cgroup)", " or raise the container's limit"};
}

/// `told`: the order says how much KV; else it is as much as `most` bytes allow, if free memory
/// does.
std::string reasons(const LoadPlan& plan, int32_t cores, bool told, int64_t most) {
  const char* kv = told                    ? "as asked"
                   : plan.kv_bytes == most ? "the default's most"
                                           : "a quarter of the memory that is free";
  const int32_t threads = plan.budget.threads;
  return fmt::format("threads: {}; KV: {}",
                     threads == cores ? std::string("one for each core")
                                      : fmt::format("{} on {} cores", threads, cores),
                     kv);
}

/// Sets what follows from the number of KV blocks.
Result<LoadPlan> with_context(const LoadOrder& order, const ModelSpec& spec, LoadPlan plan) {
  const int64_t positions = int64_t{plan.budget.kv_blocks - 1} * kBlockPositions;
  if (order.context > positions)
    return fail(ErrorCode::too_large,
                fmt::format("model {}: ctx {} needs more KV than the {} positions there is memory "
                            "for; ask for more kv_memory "
                            "or less ctx",
                            order.model, order.context, positions),
                "ctx");
  plan.budget.context = static_cast<int32_t>(
      std::min<int64_t>(order.context > 0 ? order.context : spec.context, positions));
  return plan;
}

}  // namespace

std::string resolve_backend(const std::string& asked) {
  return asked == "auto" || asked.empty() ? "native" : asked;
}

MemoryNeeds needs_of(const LoadOrder& order, const ModelSpec& spec, const std::string& backend,
                     int64_t file_bytes, const RankPlan& rank) {
  return {.weights = backend == "torch" ? weights_in_float32(spec) : file_bytes,
          .kv_block = kv_block_bytes(spec, backend, order.kv_type, rank)};
}

Result<LoadPlan> plan_load(const LoadOrder& order, const ModelSpec& spec,
                           const std::string& backend, const MemoryNeeds& own,
                           const MemoryNeeds& host, const MachineFacts& machine) {
  if (auto ok = check_ranks(order, backend); !ok) return std::unexpected(ok.error());
  const bool oracle = backend == "oracle", torch = backend == "torch";
  const Defaults& d = defaults_of(backend);
  LoadPlan plan;
  plan.prefill_chunk = d.prefill_chunk;
  plan.canary = d.canary;
  plan.budget.threads = order.threads > 0 ? order.threads : machine.cores;
  plan.budget.max_rows = order.max_rows > 0 ? order.max_rows : d.max_rows;
  plan.budget.isa = order.isa;
  plan.budget.kv_type = order.kv_type;
  plan.budget.max_slots = order.max_slots > 0 ? order.max_slots : d.max_slots;
  plan.prefill_chunk = std::min(plan.prefill_chunk, plan.budget.max_rows);
  if (order.context > spec.context)
    return fail(
        ErrorCode::invalid_argument,
        fmt::format(
            "model {}: ctx {} is longer than the model's context of {}; ask for at most that",
            order.model, order.context, spec.context),
        "ctx");
  const bool told = order.kv_blocks > 0 || order.kv_memory > 0;
  const OwnerOfMemory whose = owner_of(machine.memory_limit);
  int64_t most = d.kv_memory;
  if (oracle) {
    plan.budget.kv_blocks = order.kv_blocks > 0 ? order.kv_blocks : kOracleBlocks;
  } else {
    if (host.weights > machine.memory_available)
      return fail(ErrorCode::too_large,
                  fmt::format("model {}: its weights need {} MiB{}, but {} has {} MiB of memory "
                              "left; use a smaller model{}",
                              order.model, host.weights / kMiB, torch ? " in float32" : "",
                              whose.owner, machine.memory_available / kMiB, whose.way_out),
                  "source");
    const int64_t room = machine.memory_available - host.weights;
    const int64_t asked = order.kv_blocks > 0 ? order.kv_blocks : order.kv_memory / own.kv_block;
    if (asked > room / host.kv_block)
      return fail(ErrorCode::too_large,
                  fmt::format("model {}: kv_memory asks for {} MiB, but {} has {} MiB of memory "
                              "left beside the weights; ask for less{}",
                              order.model, (asked * host.kv_block + kMiB - 1) / kMiB, whose.owner,
                              room / kMiB, whose.way_out),
                  "kv_memory");
    const int64_t blocks =
        told ? asked : std::min(d.kv_memory / own.kv_block, room / 4 / host.kv_block);
    most = d.kv_memory / own.kv_block * own.kv_block;
    plan.budget.kv_blocks = static_cast<int32_t>(std::clamp<int64_t>(blocks, 0, 1 << 24));
  }
  // Two blocks are the least: the canary's and one to serve from.
  if (plan.budget.kv_blocks < 2)
    return fail(ErrorCode::too_large,
                fmt::format("model {}: the KV memory holds {} blocks, at least 2 are needed; give "
                            "it more kv_memory",
                            order.model, plan.budget.kv_blocks),
                "kv_memory");
  plan.kv_bytes = plan.budget.kv_blocks * own.kv_block;
  plan.why = reasons(plan, machine.cores, told, most);
  return with_context(order, spec, std::move(plan));
}

LoadOffer offer_of(const LoadPlan& plan) {
  return {plan.budget.kv_blocks, plan.budget.max_rows, plan.budget.max_slots};
}

Result<LoadPlan> agree(const LoadOrder& order, const ModelSpec& spec, LoadPlan own,
                       std::span<const LoadOffer> offers) {
  Budget& budget = own.budget;
  const int64_t block_bytes = own.kv_bytes / budget.kv_blocks;
  for (const LoadOffer& offer : offers) {
    budget.kv_blocks = std::min(budget.kv_blocks, offer.kv_blocks);
    budget.max_rows = std::min(budget.max_rows, offer.max_rows);
    budget.max_slots = std::min(budget.max_slots, offer.max_slots);
  }
  own.prefill_chunk = std::min(own.prefill_chunk, budget.max_rows);
  own.kv_bytes = budget.kv_blocks * block_bytes;
  return with_context(order, spec, std::move(own));
}

}  // namespace troupe
