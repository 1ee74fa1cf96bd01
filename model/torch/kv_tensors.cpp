#include "model/torch/kv_tensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/index_select.h>

#include <algorithm>

namespace troupe::torch_backend {

KvTensors::KvTensors(const ModelSpec& spec, int32_t blocks)
    : n_kv_heads_(spec.n_kv_heads), head_dim_(spec.head_dim) {
  // Not zeroed: pages are touched only when a block is first used, and nothing unwritten is ever
  // read.
  for (int32_t i = 0; i < spec.n_layers; ++i) {
    const auto make = [&] {
      return at::empty({blocks, n_kv_heads_, kBlockPositions, head_dim_}, at::kFloat);
    };
    layers_.push_back({make(), make()});
  }
}

void KvTensors::copy(BlockCopy copy) {
  for (Layer& layer : layers_) {
    layer.k.select(0, copy.dst).copy_(layer.k.select(0, copy.src));
    layer.v.select(0, copy.dst).copy_(layer.v.select(0, copy.src));
  }
}

void KvTensors::write(int32_t layer, int32_t block, int32_t offset, const float* k,
                      const float* v) {
  for (int32_t head = 0; head < n_kv_heads_; ++head) {
    const auto place = static_cast<ptrdiff_t>(offset) * head_dim_;
    std::copy_n(k + static_cast<ptrdiff_t>(head) * head_dim_, head_dim_,
                k_block(layer, head, block).begin() + place);
    std::copy_n(v + static_cast<ptrdiff_t>(head) * head_dim_, head_dim_,
                v_block(layer, head, block).begin() + place);
  }
}

KvTensors::Gathered KvTensors::gather(int32_t layer, std::span<const int32_t> table,
                                      int32_t end) const {
  const int64_t blocks = (end + kBlockPositions - 1) / kBlockPositions;
  const at::Tensor index = at::from_blob(const_cast<int32_t*>(table.data()), {blocks}, at::kInt);
  const auto rows = [&](const at::Tensor& all) {
    // [blocks, kv, 16, hd] -> [kv, blocks * 16, hd] -> [kv, end, hd]
    return at::index_select(all, 0, index)
        .transpose(0, 1)
        .reshape({n_kv_heads_, blocks * kBlockPositions, head_dim_})
        .narrow(1, 0, end);
  };
  const Layer& from = layers_[static_cast<size_t>(layer)];
  return {rows(from.k), rows(from.v)};
}

PagedHead KvTensors::head(int32_t layer, int32_t kv_head) const {
  const Layer& from = layers_[static_cast<size_t>(layer)];
  const int64_t offset = int64_t{kv_head} * kBlockPositions * head_dim_;
  return {from.k.data_ptr<float>() + offset, from.v.data_ptr<float>() + offset,
          int64_t{n_kv_heads_} * kBlockPositions * head_dim_, head_dim_};
}

std::span<float> KvTensors::block_of(at::Tensor& tensor, int32_t kv_head, int32_t block) const {
  const int64_t size = int64_t{kBlockPositions} * head_dim_;
  return {tensor.data_ptr<float>() + (int64_t{block} * n_kv_heads_ + kv_head) * size,
          static_cast<size_t>(size)};
}

std::span<float> KvTensors::k_block(int32_t layer, int32_t kv_head, int32_t block) {
  return block_of(layers_[static_cast<size_t>(layer)].k, kv_head, block);
}

std::span<float> KvTensors::v_block(int32_t layer, int32_t kv_head, int32_t block) {
  return block_of(layers_[static_cast<size_t>(layer)].v, kv_head, block);
}

}  // namespace troupe::torch_backend
