// Which rows and layers of a model each rank holds. Plain ints; pure.
#pragma once

#include <cstdint>
#include <vector>

#include "config/result.h"
#include "model/model_spec.h"
#include "model/weight_source.h"

namespace troupe {

/// How partial results of ranks are put together.
enum class Reduce : uint8_t {
  gather_rows,  ///< matrices split by output rows, no float summed across ranks: exact (native)
  all_reduce,   ///< sums across ranks: within a tolerance (torch)
};

struct RankPlan {
  int32_t stage = 0, tp = 0;
  int32_t first_layer = 0, last_layer = 0;  ///< half-open
  RowRange q_heads, kv_heads;               ///< in heads; kv_heads of two ranks may overlap
  RowRange ffn, vocab;                      ///< in rows
  bool embeds = false;                      ///< first stage
  bool has_head = false;                    ///< last stage
};

struct PartitionPlan {
  Reduce reduce = Reduce::gather_rows;
  int32_t block_positions = 16;
  std::vector<RankPlan> ranks;  ///< stage-major: index = stage * tensor_parallel + tp
};

/// One rank that holds everything.
PartitionPlan whole_model(const ModelSpec& spec);

/// Refuses layouts that leave a rank without work. Only 1 x 1 is served so far; others are refused
/// by name.
Result<PartitionPlan> plan_partitions(const ModelSpec& spec, int32_t tensor_parallel,
                                      int32_t pipeline_parallel);

}  // namespace troupe
