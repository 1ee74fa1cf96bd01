// The output head: logits of some rows, and the largest of each found while they are hot (N13).
// Owned by one NativePartition; one thread calls, the pool works.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "config/result.h"
#include "model/exact_math.h"
#include "model/native/activations.h"
#include "model/native/arena.h"
#include "model/native/matmul.h"
#include "model/native/packed_matrix.h"
#include "model/native/thread_pool.h"
#include "model/native/vector_kernels.h"

namespace troupe::native {

class Head {
 public:
  /// Rows computed at once: bounds the logits to 32 * vocab floats.
  static constexpr int32_t kRowsMax = 2 * kTileRows;

  Head() = default;
  static Result<Head> make(const PackedMatrix& weights, int32_t vocab, MatmulFn matmul,
                           const VectorKernels& kernels);

  /// The tiles from `first` on that fit in one compute(); at least one.
  static int32_t tiles_at_once(const Tiling& tiling, int32_t first);
  /// Logits of the rows of tiles [first, first + count).
  void compute(ThreadPool& pool, const Activations& hidden, int32_t first, int32_t count);

  /// Of row `row` counted from the first tile of the last compute().
  std::span<const float> logits(int32_t row) const {
    return {logits_ + row * stride_, static_cast<size_t>(vocab_)};
  }
  int64_t stride() const { return stride_; }  ///< floats from a row's logits to the next one's
  Largest best(int32_t row) const;

 private:
  struct BlockBest {
    float value = 0;
    int32_t token = 0;
    bool finite = true;
  };
  static constexpr int32_t kBlock = 256;  ///< ids; also the block of N14

  PackedMatrix weights_;
  MatmulFn matmul_ = nullptr;
  const VectorKernels* kernels_ = nullptr;
  int32_t vocab_ = 0, blocks_ = 0;
  int64_t stride_ = 0;
  HugeBuffer memory_;
  float* logits_ = nullptr;
  std::vector<BlockBest> bests_;  ///< [row][block]
};

}  // namespace troupe::native
