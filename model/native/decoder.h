// A rank's layers of a Llama-family model as one fused step: for the rows of all sequences,
// embedding to hidden state, with their KV written on the way. Owned by one NativePartition; one
// thread calls, the pool works. Allocates nothing per step once warm.
//
// A layer is seven phases of the pool (N5-N12 of docs/performance.md):
//   norm+quantise | q, k, v + bias + q/k norm + rotation + KV write | attention + quantise |
//   o + residual | norm+quantise | gate, up, SwiGLU + quantise | down + residual
// Under tensor parallelism a rank computes its heads and rows of each, and the ranks exchange what
// attention, o, SwiGLU and down gave (N17); norms run on every rank.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "config/result.h"
#include "model/model_spec.h"
#include "model/native/activations.h"
#include "model/native/attention.h"
#include "model/native/exchange.h"
#include "model/native/kv_store.h"
#include "model/native/matmul.h"
#include "model/native/native_weights.h"
#include "model/native/rope_table.h"
#include "model/native/thread_pool.h"
#include "model/native/vector_kernels.h"
#include "model/partition.h"

namespace troupe::native {

/// Rows of one sequence in a step.
struct SequenceRows {
  const int32_t* tokens = nullptr;  ///< `rows` ids
  const int32_t* table = nullptr;   ///< block ids from position 0
  int32_t rows = 0;
  int32_t position = 0;   ///< of the first row
  int32_t first_out = 0;  ///< rows from here on are wanted in hidden(); == rows: none
};

/// Asked before each layer, so that a step can be ended early.
class StepStop {
 public:
  virtual ~StepStop() = default;
  virtual Result<void> check() const = 0;
};

class Decoder {
 public:
  /// `group`: of which this is rank `rank` of `plan`; null in one-rank groups.
  static Result<std::unique_ptr<Decoder>> make(const WeightSource& source, const ModelSpec& spec,
                                               const PartitionPlan& plan, int rank,
                                               RankGroup* group, const Budget& budget, KvFormat kv,
                                               MatmulFn matmul, const VectorKernels& kernels,
                                               ThreadPool& pool);

  /// internal when a value was not finite: the generation is dead. On later stages the rows come
  /// from the stage before.
  Result<void> forward(std::span<const SequenceRows> sequences, const StepStop& stop);
  /// Gives the rows of the last forward() to the next stage.
  Result<void> hand_over();

  /// Last stage: the wanted rows of the last forward(), in order: normalised and quantised for the
  /// head.
  const Activations& hidden() const { return normed_; }
  /// What quantising them left, a tile for each row; undefined when the head's weights are floats.
  const Activations& hidden_rest() const { return rest_; }
  int32_t hidden_rows() const { return out_rows_; }

  const NativeWeights& weights() const { return weights_; }
  const RopeTable& rope() const { return *rope_; }
  KvStore& kv() { return kv_; }
  const ModelSpec& spec() const { return spec_; }

 private:
  Decoder(const ModelSpec& spec, const RankPlan& rank, MatmulFn matmul,
          const VectorKernels& kernels, ThreadPool& pool)
      : spec_(spec), rank_(rank), matmul_(matmul), kernels_(&kernels), pool_(&pool) {}

  struct Row {
    int32_t token = 0, position = 0;
    int32_t block = 0;  ///< that its KV goes to
  };

  /// Columns of a row that each tensor parallel rank makes.
  struct Splits {
    ColumnSplit hidden, heads, ffn;
  };

  Result<void> make_buffers(const Budget& budget);
  Result<void> attend(const LayerWeights& w, int32_t layer, int32_t rows);
  void plan_rows(std::span<const SequenceRows> sequences);
  void embed();
  /// To normed_, cut already; also to `rest` unless it is null.
  void norm(const std::vector<float>& weight, Activations* rest);
  void project_key_or_value(const UnitPanels& w, int32_t head, int32_t tile, float* y,
                            float* more) const;
  void project_heads(int32_t layer);
  void query_head(int32_t layer, int32_t head, int32_t tile, float* scratch);
  void key_value_head(int32_t layer, int32_t head, int32_t tile, float* scratch);
  void keep_wanted_rows();
  Result<void> add_projection(const PackedMatrix& matrix, const std::vector<float>& bias,
                              const Activations& in);
  Result<void> feed_forward(const LayerWeights& w);
  void check_finite(bool finite) {
    if (!finite) finite_.store(false, std::memory_order_relaxed);
  }
  float* x(int32_t row) const { return x_ + int64_t{row} * spec_.hidden; }
  float* scratch(int thread) const { return scratch_ + thread * scratch_floats_; }

  ModelSpec spec_;
  RankPlan rank_;
  MatmulFn matmul_;
  const VectorKernels* kernels_;
  ThreadPool* pool_;
  NativeWeights weights_;
  std::unique_ptr<RopeTable> rope_;
  KvStore kv_;
  Attention attention_;
  std::optional<Exchange> exchange_;  ///< in groups of several ranks
  Splits splits_;
  bool shares_layers_ = false;  ///< under tensor parallelism
  float q_scale_ = 1;

  std::vector<Row> rows_;
  std::vector<AttentionRows> all_rows_, wanted_rows_;
  int32_t out_rows_ = 0;
  std::atomic<bool> finite_ = true;

  Activations normed_;    ///< [row][hidden]
  Activations rest_;      ///< what quantising normed_ left
  Activations attended_;  ///< [row][q_dim]
  Activations gated_;     ///< [row][ffn]
  HugeBuffer memory_;
  float* x_ = nullptr;        ///< residual stream, [row][hidden]
  float* q_ = nullptr;        ///< [row][own query heads]
  float* scratch_ = nullptr;  ///< [thread][scratch_floats_]
  int64_t scratch_floats_ = 0;
};

}  // namespace troupe::native
