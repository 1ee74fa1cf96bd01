#include "model/torch/attention.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace troupe::torch_backend {

namespace {

/// From so many rows on, a matrix product over gathered blocks beats row by row.
constexpr int32_t kTileRowsMin = 8;
/// Bounds the mask and the scores of one tile to kTileRowsMax * context floats a head.
constexpr int32_t kTileRowsMax = 256;

}  // namespace

Attention::Attention(const ModelSpec& spec, std::span<const SequenceRows> sequences) : spec_(spec) {
  for (const SequenceRows& sequence : sequences) {
    if (sequence.n_rows < kTileRowsMin) {
      for (int32_t i = 0; i < sequence.n_rows; ++i) {
        const int32_t pos = sequence.pos0 + i;
        rows_.push_back({sequence.row0 + i, first_seen(pos), pos + 1, sequence.table});
        longest_ = std::max(longest_, pos + 1 - first_seen(pos));
      }
      continue;
    }
    for (int32_t at = 0; at < sequence.n_rows; at += kTileRowsMax) {
      const SequenceRows rows{sequence.row0 + at, std::min(kTileRowsMax, sequence.n_rows - at),
                              sequence.pos0 + at, sequence.table};
      at::Tensor mask = at::empty({rows.n_rows, rows.end()}, at::kFloat);
      float* cell = mask.data_ptr<float>();
      for (int32_t pos = rows.pos0; pos < rows.end(); ++pos)
        for (int32_t seen = 0; seen < rows.end(); ++seen)
          *cell++ =
              seen >= first_seen(pos) && seen <= pos ? 0 : -std::numeric_limits<float>::infinity();
      tiles_.push_back({rows, mask});
    }
  }
}

int32_t Attention::first_seen(int32_t pos) const {
  return spec_.sliding_window > 0 ? std::max(0, pos - spec_.sliding_window + 1) : 0;
}

void Attention::attend(int32_t layer, const KvTensors& kv, const at::Tensor& q,
                       at::Tensor& out) const {
  if (!rows_.empty()) attend_rows(layer, kv, q, out);
  for (const Tile& tile : tiles_) attend_tile(layer, kv, tile, q, out);
}

void Attention::attend_tile(int32_t layer, const KvTensors& kv, const Tile& tile,
                            const at::Tensor& q, at::Tensor& out) const {
  const SequenceRows& rows = tile.rows;
  const auto gathered = kv.gather(layer, rows.table, rows.end());
  // [n, heads * hd] -> [1, heads, n, hd]
  const auto heads_first = [&](const at::Tensor& all) {
    return all.narrow(0, rows.row0, rows.n_rows)
        .narrow(1, 0, spec_.q_dim())
        .view({rows.n_rows, spec_.n_heads, spec_.head_dim})
        .transpose(0, 1)
        .unsqueeze(0);
  };
  const at::Tensor attended = at::scaled_dot_product_attention(
      heads_first(q), gathered.k.unsqueeze(0), gathered.v.unsqueeze(0), tile.mask,
      /*dropout_p=*/0.0, /*is_causal=*/false, /*scale=*/std::nullopt, /*enable_gqa=*/true);
  heads_first(out).copy_(attended);
}

void Attention::attend_rows(int32_t layer, const KvTensors& kv, const at::Tensor& q,
                            at::Tensor& out) const {
  const int64_t group = spec_.n_heads / spec_.n_kv_heads, hd = spec_.head_dim;
  const int64_t tasks = static_cast<int64_t>(rows_.size()) * spec_.n_kv_heads;
  // Below some 10 us of work another thread only costs.
  const int64_t per_task = std::max<int64_t>(1, longest_ * group * hd);
  const int64_t grain = std::max<int64_t>(1, 100'000 / per_task);
  const float* q_data = q.data_ptr<float>();
  float* out_data = out.data_ptr<float>();
  const int64_t q_stride = q.stride(0), out_stride = out.stride(0);
  at::parallel_for(0, tasks, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> scores(static_cast<size_t>(longest_));
    for (int64_t task = begin; task < end; ++task) {
      const Row& row = rows_[static_cast<size_t>(task / spec_.n_kv_heads)];
      const int64_t kv_head = task % spec_.n_kv_heads;
      const PagedHead head = kv.head(layer, static_cast<int32_t>(kv_head));
      for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h)
        attend_paged(head, row.table, row.first, row.end, q_data + row.row * q_stride + h * hd,
                     scores, out_data + row.row * out_stride + h * hd);
    }
  });
}

}  // namespace troupe::torch_backend
