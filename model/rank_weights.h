// How much of a model file one rank keeps, and what that costs a step.
#pragma once

#include <cstdint>

#include "model/model_spec.h"
#include "model/partition_plan.h"
#include "model/weight_source.h"

namespace troupe {

/// Bytes of the rank's rows as they stand in the file. A tied embedding counts once.
int64_t weight_bytes(const WeightSource& source, const ModelSpec& spec, const RankPlan& rank);

/// For stages of a pipeline, in bytes of the file that a decoding row has to read. With few rows a
/// step that is what takes time, and a head of 8 bits over layers of 5 bits costs more than its
/// parameters: SmolLM2's (Q4_1 and Q8_0) 14 layers, measured are 13 to 17 at 1 to 8 rows.
StageCosts decode_costs(const WeightSource& source, const ModelSpec& spec);

}  // namespace troupe
