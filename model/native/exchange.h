// The exchanges of a layer under tensor parallelism (N17 of docs/performance.md): every rank
// computed some columns of a row, afterwards all ranks have all. Owned by one NativePartition; its
// thread calls, the pool helps to pack and unpack. Allocates nothing per step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "config/result.h"
#include "model/native/activations.h"
#include "model/native/arena.h"
#include "model/native/packed_matrix.h"
#include "model/native/thread_pool.h"
#include "model/partition_plan.h"
#include "model/rank_group.h"

namespace troupe::native {

/// Which columns of a row each tensor parallel rank of a stage makes, in rank order.
using ColumnSplit = std::vector<RowRange>;

class Exchange {
 public:
  Exchange() = default;
  /// `width_max`: of the widest row. internal when there is no memory.
  static Result<Exchange> make(RankGroup& group, ThreadPool& pool, int32_t max_rows,
                               int32_t width_max);

  /// x: `rows` rows, `stride` floats apart.
  Result<void> gather_floats(float* x, int64_t stride, int32_t rows, const ColumnSplit& split);
  /// Activations as `reader`, the matrix that reads them, needs them: quantised, or as floats.
  /// Splits are at whole groups. `finite` false makes the row's sums NaN on every other rank, which
  /// then fail the step as this one does (int8 would hide it).
  Result<void> gather(const Activations& a, PackKind reader, const ColumnSplit& split, bool finite);

  /// Pipeline: each rank of a stage hands its columns to the rank of the same number in the next
  /// stage; those then gather them.
  Result<void> send_on(const float* x, int64_t stride, int32_t rows, const ColumnSplit& split);
  Result<void> receive_on(float* x, int64_t stride, int32_t rows, const ColumnSplit& split);

 private:
  Result<void> gather_groups(const Activations& a, const ColumnSplit& split, bool finite);
  /// Sets counts_, by what each rank gives; returns where this rank's part begins in buffer_.
  template <class BytesOf>
  std::byte* lay_out(const ColumnSplit& split, BytesOf bytes_of);
  Result<void> exchange();  ///< of buffer_, as laid out
  void pack_floats(const float* x, int64_t stride, int32_t rows, const RowRange& columns,
                   std::byte* to);
  void unpack_floats(const std::byte* from, float* x, int64_t stride, int32_t rows,
                     const RowRange& columns);
  size_t own() const { return static_cast<size_t>(group_->tp()); }

  RankGroup* group_ = nullptr;
  ThreadPool* pool_ = nullptr;
  HugeBuffer buffer_;  ///< what all ranks give, in rank order
  std::vector<size_t> counts_;
  size_t own_begin_ = 0, total_ = 0;
};

}  // namespace troupe::native
