// Turns an order to load a model into numbers: KV blocks, rows a step, slots, context. Pure; the
// shard shell supplies what the machine has.
#pragma once

#include <cstdint>
#include <string>

#include "cluster/batcher.h"
#include "cluster/messages.h"
#include "config/result.h"
#include "model/model_spec.h"
#include "model/partition.h"

namespace troupe {

struct MachineFacts {
  int64_t memory_available = 0;  ///< bytes
  int32_t cores = 1;
};

struct LoadPlan {
  Budget budget;
  int32_t prefill_chunk = 0;
  Duration canary{};
  int64_t kv_bytes = 0;
};

/// "auto" becomes the best backend of this build for a CPU.
std::string resolve_backend(const std::string& asked);

/// `weight_bytes`: of the model's tensors as they stand in the file. too_large before anything is
/// loaded when the KV asked for, or the weights as the backend keeps them, do not fit in memory;
/// invalid_argument when the context asked for is longer than the model's; unsupported for several
/// ranks a group.
Result<LoadPlan> plan_load(const LoadOrder& order, const ModelSpec& spec, int64_t weight_bytes,
                           const std::string& backend, const MachineFacts& machine);

}  // namespace troupe
