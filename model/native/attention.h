// Attention of one step over the paged KV: cuts the queries of all sequences into tasks for the
// pool, runs them segment by segment (N12) and hands out finished rows. Owned by one Decoder; its
// thread calls, the pool's threads work.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/model_spec.h"
#include "model/native/activations.h"
#include "model/native/arena.h"
#include "model/native/kv_store.h"
#include "model/native/thread_pool.h"
#include "model/native/vector_kernels.h"
#include "model/weight_source.h"

namespace troupe::native {

/// Consecutive rows of one sequence whose attention is wanted.
struct AttentionRows {
  const int32_t* table = nullptr;  ///< block ids of the sequence
  int32_t q_row = 0;               ///< of the first row, in the q buffer
  int32_t out_row = 0;             ///< of the first row, in the output
  int32_t position = 0;            ///< of the first row
  int32_t rows = 0;
};

/// The heads of one rank: query heads, and the kv heads they read.
struct HeadShare {
  RowRange q, kv;
};

class Attention {
 public:
  Attention() = default;
  static Result<Attention> make(const ModelSpec& spec, const HeadShare& heads,
                                const VectorKernels& kernels, int32_t max_rows, int32_t context,
                                int32_t threads);

  /// Cuts anew; valid for all layers until the next plan(). Allocates nothing once warm.
  void plan(std::span<const AttentionRows> rows);
  /// q: [row][own query heads], rotated and scaled. Fills own heads' columns of the planned rows of
  /// `out` (width q_dim of the model), or of floats(). False when a value was not finite.
  bool run(ThreadPool& pool, const KvStore& kv, int32_t layer, const float* q,
           const Activations& out);
  /// [row][q_dim]: where run() leaves its output when heads are no whole groups of 32; null: in
  /// `out`. quantise() then takes planned rows of it to `out`.
  float* floats() { return gathered_.size() == 0 ? nullptr : gathered(); }
  bool quantise(ThreadPool& pool, const Activations& out);

 private:
  /// Rows of one sequence that are computed together, for one kv head.
  struct Task {
    const int32_t* table = nullptr;
    int32_t kv_head = 0, rows = 0, out_row = 0;
    int32_t head0 = 0, heads = 0;  ///< query heads, counted from the rank's first
    int32_t query0 = 0;            ///< into q_offset_ and position_
    int32_t first_segment = 0, segments = 0;
    int32_t partial0 = 0;  ///< split: index of its first partial result
  };
  /// Query heads of this rank that read one of its kv heads: the model's ratio, or fewer at the
  /// edges of the rank's share.
  struct HeadRun {
    int32_t head0 = 0, heads = 0;
  };
  struct Piece {
    int32_t task = 0, segment = 0;  ///< of a split task
  };
  struct Partial {  ///< views for `queries_max_` queries
    float* m;
    float* l;
    float* out;
  };
  struct Scratch {
    HugeBuffer memory;
    float* scores = nullptr;
    Partial sum, next;
    float* row = nullptr;  ///< ratio * head_dim
  };

  int32_t queries_of(const Task& task) const { return task.rows * task.heads; }
  float* gathered() { return reinterpret_cast<float*>(gathered_.data()); }
  Partial partial(int32_t index) const;
  /// Index of the first query of the task that the segment can be seen by.
  int32_t first_query(const Task& task, int32_t segment) const;
  void attend(const Task& task, int32_t segment, const KvStore& kv, int32_t layer, const float* q,
              float* scores, const Partial& to) const;
  void merge(const Task& task, int32_t segment, const Partial& sum, const Partial& next) const;
  bool hand_out(const Task& task, const Partial& sum, float* row, const Activations& out);

  const VectorKernels* kernels_ = nullptr;
  int32_t head_dim_ = 0, window_ = 0, threads_ = 1;
  int32_t q_stride_ = 0;                  ///< of q: own query heads
  int32_t q_dim_ = 0, first_column_ = 0;  ///< of the output: the model's, and where own heads begin
  std::vector<HeadRun> runs_;             ///< by own kv head
  int32_t rows_per_task_ = 1, queries_max_ = 1, partials_max_ = 0;
  std::vector<Task> tasks_;
  std::vector<Piece> pieces_;  ///< empty: tasks run whole
  std::vector<int32_t> q_offset_, position_;
  std::vector<Scratch> scratch_;  ///< one a thread
  HugeBuffer partials_;
  float* partial_base_ = nullptr;
  HugeBuffer gathered_;  ///< [row][q_dim]: only when heads' outputs are no whole groups
  std::vector<int32_t> out_rows_;
};

}  // namespace troupe::native
