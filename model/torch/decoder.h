// The Llama-family decoder (Touvron et al. 2023): for each layer x += attention(norm(x)); x +=
// swiglu(norm(x)). One step computes rows of many sequences at once. Throws c10::Error (caught at
// the folder's boundary). One thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "config/result.h"
#include "model/model_spec.h"
#include "model/torch/attention.h"
#include "model/torch/kv_tensors.h"
#include "model/torch/rope.h"
#include "model/torch/weights.h"

namespace troupe::torch_backend {

class Decoder {
 public:
  /// Rows whose logits are computed at once: bounds their memory to 64 * vocab floats.
  static constexpr int64_t kLogitRowsMax = 64;

  Decoder(ModelSpec spec, DecoderWeights weights, int32_t kv_blocks, int32_t max_rows,
          int32_t context);

  /// Asked before each layer; an error ends the step early.
  using Interrupt = std::function<Result<void>()>;

  /// Writes the KV of all rows and leaves their hidden states for logits(). tokens: one id a row.
  Result<void> forward(std::span<const int32_t> tokens, std::span<const SequenceRows> sequences,
                       const Interrupt& interrupt);
  /// [rows.size(), vocab] for some rows of the last forward(), at most kLogitRowsMax. Valid until
  /// the next call.
  const at::Tensor& logits(std::span<const int32_t> rows);

  KvTensors& kv() { return kv_; }

 private:
  void self_attention(int32_t layer, std::span<const SequenceRows> sequences,
                      const Attention& attention);
  void rotate_and_store(int32_t layer, const SequenceRows& sequence);
  void feed_forward(const LayerWeights& w);

  ModelSpec spec_;
  DecoderWeights weights_;
  RopeTable rope_;
  KvTensors kv_;
  // Step buffers, [max_rows, ...]; the rows in use are views of the first ones.
  struct Buffers {
    at::Tensor x, normed, qkv, attended, gate_up, gated;
  };
  Buffers all_, now_;
  at::Tensor logits_;
};

}  // namespace troupe::torch_backend
