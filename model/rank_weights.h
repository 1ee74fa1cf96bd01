// How much of a model file one rank keeps.
#pragma once

#include <cstdint>

#include "model/model_spec.h"
#include "model/partition_plan.h"
#include "model/weight_source.h"

namespace troupe {

/// Bytes of the rank's rows as they stand in the file. A tied embedding counts once.
int64_t weight_bytes(const WeightSource& source, const ModelSpec& spec, const RankPlan& rank);

}  // namespace troupe
