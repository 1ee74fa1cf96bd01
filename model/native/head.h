// The output head: logits of some rows, and the largest of each found while they are hot (N13).
// Owned by one NativePartition; one thread calls, the pool works. Under tensor parallelism a rank
// computes its own ids; the head rank also takes what the others found.
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
#include "model/weight_source.h"

namespace troupe::native {

class Head {
 public:
  /// Rows computed at once: bounds the logits to 32 * vocab floats.
  static constexpr int32_t kRowsMax = 2 * kTileRows;

  Head() = default;
  /// `weights`: the rows of the ids `own`, which begin at a whole block. `kept`: the ids whose
  /// logits have room here: own ones, or all on a head rank, whose own ones are the first.
  static Result<Head> make(const PackedMatrix& weights, RowRange own, RowRange kept,
                           MatmulFn matmul, const VectorKernels& kernels);

  /// The tiles from `first` on that fit in one compute(); at least one.
  static int32_t tiles_at_once(const Tiling& tiling, int32_t first);
  /// Logits of the rows of tiles [first, first + count) of `hidden`. `rest`: what quantising left
  /// of each row, a tile a row; it is added where the largest logit of a block is (N13).
  void compute(ThreadPool& pool, const Activations& hidden, const Activations& rest, int32_t first,
               int32_t count);

  /// Of row `row` counted from the first tile of the last compute(): the kept ids.
  std::span<const float> logits(int32_t row) const {
    return {logits_ + row * stride_, static_cast<size_t>(kept_.size())};
  }
  int64_t stride() const { return stride_; }  ///< floats from a row's logits to the next one's
  /// Room for the logits of some of the kept ids, for those that another rank computed.
  std::span<float> logits_of(int32_t row, const RowRange& ids) {
    return {logits_ + row * stride_ + (ids.begin - kept_.begin), static_cast<size_t>(ids.size())};
  }
  /// Plain data: travels between ranks as it lies.
  struct Best {
    float value = 0;
    int32_t token = 0;
    uint32_t finite = 1;
  };
  /// Of own ids; the least possible where there is none.
  Best best_own(int32_t row) const;
  /// What another rank found; after compute(), in ascending order of ids.
  void take_best(int32_t row, const Best& other);
  /// Of own ids and those taken.
  Largest best(int32_t row) const {
    const Best best = others_ ? taken_[static_cast<size_t>(row)] : best_own(row);
    return {best.token, best.finite != 0};
  }

 private:
  void add_rest(const ActivationTile& rest, int32_t panel, float* z) const;
  static constexpr int32_t kBlock = 256;  ///< ids; also the block of N14

  PackedMatrix weights_;
  MatmulFn matmul_ = nullptr;
  const VectorKernels* kernels_ = nullptr;
  RowRange own_, kept_;
  int32_t blocks_ = 0;  ///< of own ids
  int64_t stride_ = 0;
  HugeBuffer memory_;
  float* logits_ = nullptr;
  std::vector<Best> bests_;  ///< [row][block]
  bool others_ = false;      ///< other ranks have ids too
  std::vector<Best> taken_;  ///< [row]; only with others
};

}  // namespace troupe::native
