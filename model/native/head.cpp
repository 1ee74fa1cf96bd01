#include "model/native/head.h"

#include <algorithm>
#include <limits>

#include "config/check.h"
#include "model/native/phase_cut.h"

namespace troupe::native {

namespace {

/// Ties go to the one that is there: `next` has higher ids.
void join(Head::Best& best, const Head::Best& next) {
  best.finite &= next.finite;
  if (next.value > best.value) {
    best.value = next.value;
    best.token = next.token;
  }
}

}  // namespace

Result<Head> Head::make(const PackedMatrix& weights, RowRange own, RowRange kept, MatmulFn matmul,
                        const VectorKernels& kernels) {
  TROUPE_CHECK(own.begin % kBlock == 0 && own.begin == kept.begin && own.end <= kept.end);
  Head head;
  head.weights_ = weights;
  head.own_ = own;
  head.kept_ = kept;
  head.matmul_ = matmul;
  head.kernels_ = &kernels;
  head.blocks_ = static_cast<int32_t>((own.size() + kBlock - 1) / kBlock);
  head.stride_ = (kept.size() + kBlock - 1) / kBlock * kBlock;
  auto memory = HugeBuffer::make(static_cast<size_t>(head.stride_ * kRowsMax * 4));
  if (!memory) return std::unexpected(memory.error());
  head.memory_ = std::move(*memory);
  head.logits_ = reinterpret_cast<float*>(head.memory_.data());
  head.bests_.resize(static_cast<size_t>(head.blocks_ * kRowsMax));
  head.others_ = own != kept;
  if (head.others_) head.taken_.resize(kRowsMax);
  return head;
}

int32_t Head::tiles_at_once(const Tiling& tiling, int32_t first) {
  return std::max(1, std::min(kRowsMax / tiling.height, tiling.count - first));
}

/// To the logits of one panel's ids.
void Head::add_rest(const ActivationTile& rest, int32_t panel, float* z) const {
  alignas(64) float more[kPanelRows];
  matmul_(weights_, panel, 1, rest, more, kPanelRows);
  kernels_->add(z, more, kPanelRows);
}

void Head::compute(ThreadPool& pool, const Activations& hidden, const Activations& rest,
                   int32_t first, int32_t count) {
  const Tiling& tiling = hidden.tiling();
  const int32_t row0 = tiling.first(first);
  int32_t rows = 0;
  for (int32_t tile = first; tile < first + count; ++tile) rows += tiling.size(tile);
  TROUPE_CHECK(rows <= kRowsMax, rows);
  const Tiling cut_tiles{rows, tiling.height, count};
  constexpr int32_t kPanels = kBlock / kPanelRows;
  const auto first_id = static_cast<int32_t>(own_.begin);
  const PhaseCut cut(blocks_, kPanels * weights_.panel_bytes(),
                     int64_t{kBlock} * weights_.groups * kGroup, cut_tiles, pool.threads());
  pool.run(cut.chunks(), [&](int chunk, int) {
    cut.each(chunk, [&](int32_t block, int32_t tile) {
      const int32_t panel = block * kPanels, column = block * kBlock;
      const int32_t row = tiling.first(first + tile) - row0;
      const ActivationTile in = hidden.tile(first + tile);
      matmul_(weights_, panel, std::min(kPanels, weights_.panels - panel), in,
              logits_ + row * stride_ + column, stride_);
      const auto n = static_cast<int32_t>(std::min<int64_t>(kBlock, own_.size() - column));
      for (int32_t r = row; r < row + in.rows; ++r) {
        float* z = logits_ + r * stride_ + column;
        bool finite = true;
        int32_t best = kernels_->argmax(z, n, &finite);
        if (!is_float(weights_.kind)) {
          const int32_t leading = best / kPanelRows;
          add_rest(rest.tile(row0 + r), panel + leading, z + leading * kPanelRows);
          best = kernels_->argmax(z, n, &finite);
        }
        bests_[static_cast<size_t>(r * blocks_ + block)] = {z[best], first_id + column + best,
                                                            finite ? 1u : 0u};
      }
    });
  });
  if (others_)
    for (int32_t row = 0; row < rows; ++row) taken_[static_cast<size_t>(row)] = best_own(row);
}

Head::Best Head::best_own(int32_t row) const {
  if (blocks_ == 0) return {.value = -std::numeric_limits<float>::infinity()};
  const Best* all = bests_.data() + row * blocks_;
  Best best = all[0];
  for (int32_t block = 1; block < blocks_; ++block) join(best, all[block]);
  return best;
}

void Head::take_best(int32_t row, const Best& other) {
  join(taken_[static_cast<size_t>(row)], other);
}

}  // namespace troupe::native
