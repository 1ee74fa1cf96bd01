// Paged KV memory: for each layer, blocks of 16 positions. [blocks, n_kv_heads, 16, head_dim], so
// that the K or V of one (block, kv head) is contiguous, as block images need. One thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "model/model_spec.h"
#include "model/step.h"
#include "model/torch/row_kernels.h"

namespace troupe::torch_backend {

class KvTensors {
 public:
  KvTensors() = default;
  KvTensors(const ModelSpec& spec, int32_t blocks);

  void copy(BlockCopy copy);
  /// k, v: [n_kv_heads, head_dim] of one position.
  void write(int32_t layer, int32_t block, int32_t offset, const float* k, const float* v);
  /// K and V of positions [0, end) of a table, each [n_kv_heads, end, head_dim].
  struct Gathered {
    at::Tensor k, v;
  };
  Gathered gather(int32_t layer, std::span<const int32_t> table, int32_t end) const;
  PagedHead head(int32_t layer, int32_t kv_head) const;

  /// K then V of one (layer, kv head, block), each [16, head_dim].
  std::span<float> k_block(int32_t layer, int32_t kv_head, int32_t block);
  std::span<float> v_block(int32_t layer, int32_t kv_head, int32_t block);

 private:
  struct Layer {
    at::Tensor k, v;
  };
  std::span<float> block_of(at::Tensor& tensor, int32_t kv_head, int32_t block) const;

  int32_t n_kv_heads_ = 0, head_dim_ = 0;
  std::vector<Layer> layers_;
};

}  // namespace troupe::torch_backend
