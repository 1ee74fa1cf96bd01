// A rank's part of a model's weights in this backend's layout: made once at load from a
// WeightSource, in parallel, into one huge-page buffer; the source is not needed afterwards.
// Read-only then; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "config/result.h"
#include "model/model_spec.h"
#include "model/native/arena.h"
#include "model/native/packed_matrix.h"
#include "model/native/thread_pool.h"
#include "model/partition_plan.h"
#include "model/weight_source.h"

namespace troupe::native {

/// Units (heads, or runs of 32 FFN rows) of one tensor within a packed matrix, which several
/// tensors may share: unit u is the panels [first + u * step, first + u * step + panels).
struct UnitPanels {
  PackedMatrix matrix;
  int32_t first = 0, step = 0, panels = 0;
  int32_t panel(int32_t unit) const { return first + unit * step; }
};

/// FFN rows of one unit: a quantisation group of the down projection's input.
inline constexpr int32_t kFfnUnit = kFfnSplitUnit;

/// Matrices hold the rank's rows alone, counted from its first; vectors are the model's.
struct LayerWeights {
  std::vector<float> attention_norm, ffn_norm;
  /// Per head, in the order of the packed rows (halves, N10).
  std::vector<float> q_bias, k_bias, v_bias, q_norm, k_norm;
  UnitPanels q, k, v;  ///< a unit is a head, padded to whole panels
  PackedMatrix o;
  std::vector<float> o_bias;
  UnitPanels gate, up;
  std::vector<float> gate_bias, up_bias, down_bias;
  PackedMatrix down;
};

struct NativeWeights {
  HugeBuffer memory;
  PackedMatrix embedding;  ///< whole, on ranks of the first stage
  PackedMatrix head;       ///< own rows, on ranks of the last stage; part of a tied embedding
  std::vector<float> output_norm;
  std::vector<float> rope_divisors;  ///< head_dim / 2, or empty
  std::vector<LayerWeights> layers;  ///< of the rank's stage
  int32_t ffn_units = 0;
};

/// not_found, invalid_argument: the file lacks a tensor or has another shape than the spec says;
/// one sentence names it. internal: no memory.
Result<NativeWeights> load_native_weights(const WeightSource& source, const ModelSpec& spec,
                                          const RankPlan& rank, ThreadPool& pool);

}  // namespace troupe::native
