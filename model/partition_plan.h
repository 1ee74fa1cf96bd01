// Which rows and layers of a model each rank holds. Plain ints; pure.
//
// Every matrix is split by output rows, each kind in units that kernels and quantisation need (N16
// of docs/performance.md), as evenly as whole units allow. A rank may get no rows of a small
// matrix; it always has a query head and a layer.
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

/// Units of a split, in rows.
inline constexpr int32_t kFfnSplitUnit = 32;     ///< a quantisation group of the down projection
inline constexpr int32_t kHiddenSplitUnit = 16;  ///< a panel of output rows
inline constexpr int32_t kVocabSplitUnit = 256;  ///< a block of log-probabilities (N14)

struct RankPlan {
  int32_t stage = 0, tp = 0;
  int32_t first_layer = 0, last_layer = 0;  ///< half-open
  RowRange q_heads, kv_heads;               ///< in heads; kv_heads of two ranks may overlap
  RowRange ffn, vocab;                      ///< in rows
  RowRange hidden;                          ///< in rows of the attention's and FFN's output
  bool embeds = false;                      ///< first stage
  bool has_head = false;                    ///< last stage
};

struct PartitionPlan {
  Reduce reduce = Reduce::gather_rows;
  int32_t block_positions = 16;
  int32_t tensor_parallel = 1, pipeline_parallel = 1;
  std::vector<RankPlan> ranks;  ///< stage-major: index = stage * tensor_parallel + tp
};

/// What a stage's share of a step costs, in any one unit.
struct StageCosts {
  double embedding = 0, head = 0;
  std::vector<double> layers;
};
/// By the parameters that one row reads: a layer's, the head's, and a row of the embedding.
StageCosts parameter_costs(const ModelSpec& spec);

/// One rank that holds everything.
PartitionPlan whole_model(const ModelSpec& spec);

/// Any tensor_parallel up to the number of query heads and any pipeline_parallel up to the number
/// of layers; beyond that invalid_argument, which names the nearest layout. Stages are cut so that
/// the dearest one is as cheap as it can be. `costs` has an entry for each layer, none negative.
Result<PartitionPlan> plan_partitions(const ModelSpec& spec, int32_t tensor_parallel,
                                      int32_t pipeline_parallel, const StageCosts& costs);
Result<PartitionPlan> plan_partitions(const ModelSpec& spec, int32_t tensor_parallel,
                                      int32_t pipeline_parallel);

}  // namespace troupe
