// Turns an order to load a rank into numbers: KV blocks, rows a step, slots, context. Pure; the
// shard shell supplies what the machine has. Ranks of a group may find room for different numbers
// and then serve with the least of each (LoadOffer, agree()).
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "cluster/batcher.h"
#include "cluster/memory_room.h"
#include "cluster/messages.h"
#include "config/result.h"
#include "model/model_spec.h"
#include "model/partition.h"

namespace troupe {

struct MachineFacts {
  int64_t memory_available = 0;  ///< bytes
  int32_t cores = 1;
  MemoryLimit memory_limit = MemoryLimit::machine;  ///< whose limit the memory ends at
};

struct LoadPlan {
  Budget budget;
  int32_t prefill_chunk = 0;
  Duration canary{};
  int64_t kv_bytes = 0;
  std::string why;  ///< for people: threads beside cores, and what chose the KV memory
};

/// "auto" becomes the best backend of this build for a CPU.
std::string resolve_backend(const std::string& asked);

/// What ranks keep in memory.
struct MemoryNeeds {
  int64_t weights = 0;   ///< as the backend keeps them
  int64_t kv_block = 0;  ///< of a KV block
  MemoryNeeds& operator+=(const MemoryNeeds& other) {
    weights += other.weights;
    kv_block += other.kv_block;
    return *this;
  }
};
/// Of one rank; `file_bytes`: of its weights as they stand in the file.
MemoryNeeds needs_of(const LoadOrder& order, const ModelSpec& spec, const std::string& backend,
                     int64_t file_bytes, const RankPlan& rank);

/// `own`: of this rank; `host`: of all the group's ranks that share its machine, this one included.
/// too_large before anything is loaded when the KV asked for, or the weights, do not fit in memory;
/// invalid_argument when the context asked for is longer than the model's; unsupported for several
/// ranks on torch.
Result<LoadPlan> plan_load(const LoadOrder& order, const ModelSpec& spec,
                           const std::string& backend, const MemoryNeeds& own,
                           const MemoryNeeds& host, const MachineFacts& machine);

/// What a rank has room for; travels between ranks as it lies in memory.
struct LoadOffer {
  int32_t kv_blocks = 0, max_rows = 0, max_slots = 0;
};
LoadOffer offer_of(const LoadPlan& plan);

/// The numbers that a rank with this plan serves with in a group that made these offers: equal on
/// every rank. too_large when the context asked for does not fit into the least of them.
Result<LoadPlan> agree(const LoadOrder& order, const ModelSpec& spec, LoadPlan own,
                       std::span<const LoadOffer> offers);

}  // namespace troupe
