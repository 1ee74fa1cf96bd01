// Causal attention of a batch of sequences over paged KV, grouped-query (Ainslie et al. 2023),
// optionally with a sliding window. Two ways: many rows of one sequence go through ATen over
// gathered blocks; few rows are computed in place, where gathering would cost more than attending.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "model/model_spec.h"
#include "model/torch/kv_tensors.h"

namespace troupe::torch_backend {

/// Rows row0 .. row0 + n_rows - 1 of the step's tensors are positions pos0 ... of one sequence.
struct SequenceRows {
  int32_t row0 = 0, n_rows = 0, pos0 = 0;
  std::span<const int32_t> table;
  int32_t end() const { return pos0 + n_rows; }
};

/// Plans one step: made once, used for each layer. The KV of the step's rows must have been
/// written.
class Attention {
 public:
  Attention(const ModelSpec& spec, std::span<const SequenceRows> sequences);

  /// q: [rows, >= n_heads * head_dim] (the q part of each row comes first); out: [rows, n_heads *
  /// head_dim].
  void attend(int32_t layer, const KvTensors& kv, const at::Tensor& q, at::Tensor& out) const;

 private:
  /// A tile of a long prefill: its rows see positions [first, end).
  struct Tile {
    SequenceRows rows;
    at::Tensor mask;  ///< [n_rows, end]: 0 where a row may look, else -infinity
  };
  struct Row {
    int32_t row = 0, first = 0, end = 0;
    std::span<const int32_t> table;
  };
  void attend_tile(int32_t layer, const KvTensors& kv, const Tile& tile, const at::Tensor& q,
                   at::Tensor& out) const;
  void attend_rows(int32_t layer, const KvTensors& kv, const at::Tensor& q, at::Tensor& out) const;
  int32_t first_seen(int32_t pos) const;

  const ModelSpec& spec_;
  std::vector<Tile> tiles_;
  std::vector<Row> rows_;
  int32_t longest_ = 0;  ///< positions that any of rows_ sees
};

}  // namespace troupe::torch_backend
