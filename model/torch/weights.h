// A decoder's weights as float32 tensors, dequantised once at load. Matrices that read the same
// input are stored as one (q, k and v; gate and up). q and k rows stand in halves order whatever
// the file's (numerics N10).
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "config/result.h"
#include "model/model_spec.h"
#include "model/weight_source.h"

namespace troupe::torch_backend {

/// y = x W^T + b. `weight_t` is a transposed view, [in, out]; `bias` may be undefined.
struct Linear {
  at::Tensor weight_t, bias;
};

struct LayerWeights {
  at::Tensor attention_norm;  ///< [hidden]
  Linear qkv;                 ///< hidden -> q_dim + 2 kv_dim
  at::Tensor q_norm, k_norm;  ///< [head_dim] or undefined
  Linear o;                   ///< q_dim -> hidden
  at::Tensor ffn_norm;        ///< [hidden]
  Linear gate_up;             ///< hidden -> 2 ffn
  Linear down;                ///< ffn -> hidden
};

struct DecoderWeights {
  at::Tensor embedding;  ///< [vocab, hidden]
  std::vector<LayerWeights> layers;
  at::Tensor output_norm;         ///< [hidden]
  Linear head;                    ///< hidden -> vocab; the embedding itself when tied
  std::vector<float> rope_freqs;  ///< [head_dim / 2] or empty
};

/// Reads and converts with `threads` threads; afterwards the file is not needed. data_loss names a
/// tensor that is missing or has the wrong shape. Throws c10::Error when memory runs out (caught at
/// the folder's boundary).
Result<DecoderWeights> load_weights(const WeightSource& source, const ModelSpec& spec, int threads);

}  // namespace troupe::torch_backend
