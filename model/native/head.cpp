#include "model/native/head.h"

#include <algorithm>

#include "config/check.h"
#include "model/native/phase_cut.h"

namespace troupe::native {

Result<Head> Head::make(const PackedMatrix& weights, int32_t vocab, MatmulFn matmul,
                        const VectorKernels& kernels) {
  Head head;
  head.weights_ = weights;
  head.vocab_ = vocab;
  head.matmul_ = matmul;
  head.kernels_ = &kernels;
  head.blocks_ = (vocab + kBlock - 1) / kBlock;
  head.stride_ = int64_t{head.blocks_} * kBlock;
  auto memory = HugeBuffer::make(static_cast<size_t>(head.stride_ * kRowsMax * 4));
  if (!memory) return std::unexpected(memory.error());
  head.memory_ = std::move(*memory);
  head.logits_ = reinterpret_cast<float*>(head.memory_.data());
  head.bests_.resize(static_cast<size_t>(head.blocks_ * kRowsMax));
  return head;
}

int32_t Head::tiles_at_once(const Tiling& tiling, int32_t first) {
  return std::max(1, std::min(kRowsMax / tiling.height, tiling.count - first));
}

void Head::compute(ThreadPool& pool, const Activations& hidden, int32_t first, int32_t count) {
  const Tiling& tiling = hidden.tiling();
  const int32_t row0 = tiling.first(first);
  int32_t rows = 0;
  for (int32_t tile = first; tile < first + count; ++tile) rows += tiling.size(tile);
  TROUPE_CHECK(rows <= kRowsMax, rows);
  const Tiling cut_tiles{rows, tiling.height, count};
  constexpr int32_t kPanels = kBlock / kPanelRows;
  const PhaseCut cut(blocks_, kPanels * weights_.panel_bytes(),
                     int64_t{kBlock} * weights_.groups * kGroup, cut_tiles, pool.threads());
  pool.run(cut.chunks(), [&](int chunk, int) {
    cut.each(chunk, [&](int32_t block, int32_t tile) {
      const int32_t panel = block * kPanels, column = block * kBlock;
      const int32_t row = tiling.first(first + tile) - row0;
      const ActivationTile in = hidden.tile(first + tile);
      matmul_(weights_, panel, std::min(kPanels, weights_.panels - panel), in,
              logits_ + row * stride_ + column, stride_);
      const int32_t n = std::min(kBlock, vocab_ - column);
      for (int32_t r = row; r < row + in.rows; ++r) {
        const float* z = logits_ + r * stride_ + column;
        bool finite = true;
        const int32_t best = kernels_->argmax(z, n, &finite);
        bests_[static_cast<size_t>(r * blocks_ + block)] = {z[best], column + best, finite};
      }
    });
  });
}

Largest Head::best(int32_t row) const {
  const BlockBest* all = bests_.data() + row * blocks_;
  Largest best{all[0].token, all[0].finite};
  float value = all[0].value;
  for (int32_t block = 1; block < blocks_; ++block) {
    best.finite &= all[block].finite;
    if (all[block].value > value) {
      value = all[block].value;
      best.index = all[block].token;
    }
  }
  return best;
}

}  // namespace troupe::native
