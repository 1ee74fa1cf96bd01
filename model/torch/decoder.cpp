#include "model/torch/decoder.h"

#include <ATen/Parallel.h>
#include <ATen/ops/add.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/silu.h>

#include <algorithm>
#include <utility>

namespace troupe::torch_backend {

namespace {

/// out = x W^T for at most kFewRowsMax contiguous rows, the rows of W shared out over the threads.
void few_rows_product(const at::Tensor& x, const at::Tensor& weight_t, at::Tensor& out) {
  const int64_t k = x.size(1), n = weight_t.size(1);
  const auto x_rows = static_cast<int32_t>(x.size(0));
  const float* in = x.data_ptr<float>();
  const float* w = weight_t.data_ptr<float>();
  float* y = out.data_ptr<float>();
  constexpr int64_t kWeightsPerTask = 1 << 17;
  at::parallel_for(0, n, std::max<int64_t>(1, kWeightsPerTask / k),
                   [&](int64_t begin, int64_t end) {
                     multiply_few(in, x_rows, k, w + begin * k, end - begin, y + begin, n);
                   });
}

/// out = x W^T + b
void linear(const at::Tensor& x, const Linear& w, at::Tensor& out) {
  if (x.size(0) <= kFewRowsMax) {
    few_rows_product(x, w.weight_t, out);
    if (w.bias.defined()) out.add_(w.bias);
  } else if (w.bias.defined()) {
    at::addmm_out(out, w.bias, x, w.weight_t);
  } else {
    at::mm_out(out, x, w.weight_t);
  }
}

/// x += y W^T + b
void add_linear(at::Tensor& x, const at::Tensor& y, const Linear& w) {
  if (x.size(0) <= kFewRowsMax) {
    at::Tensor product = at::empty_like(x);
    few_rows_product(y, w.weight_t, product);
    x.add_(product);
  } else {
    at::addmm_out(x, x, y, w.weight_t);
  }
  if (w.bias.defined()) x.add_(w.bias);
}

std::span<float> row_of(const at::Tensor& tensor, int64_t row) {
  return {tensor.data_ptr<float>() + row * tensor.stride(0), static_cast<size_t>(tensor.size(1))};
}

std::span<const float> values(const at::Tensor& vector) {
  return {vector.data_ptr<float>(), static_cast<size_t>(vector.numel())};
}

/// out = rms_norm(x) row by row
void norm_rows(const at::Tensor& x, const at::Tensor& weight, float eps, const at::Tensor& out) {
  for (int64_t row = 0; row < x.size(0); ++row)
    rms_norm(row_of(x, row), values(weight), eps, row_of(out, row));
}

at::Tensor ids(std::span<const int32_t> values) {
  return at::from_blob(const_cast<int32_t*>(values.data()), {std::ssize(values)}, at::kInt);
}

}  // namespace

Decoder::Decoder(ModelSpec spec, DecoderWeights weights, int32_t kv_blocks, int32_t max_rows,
                 int32_t context)
    : spec_(std::move(spec)),
      weights_(std::move(weights)),
      rope_(rope_frequencies(spec_.rope, spec_.head_dim, weights_.rope_freqs), context),
      kv_(spec_, kv_blocks) {
  const auto buffer = [&](int64_t rows, int64_t cols) {
    return at::empty({rows, cols}, at::kFloat);
  };
  all_ = {.x = buffer(max_rows, spec_.hidden),
          .normed = buffer(max_rows, spec_.hidden),
          .qkv = buffer(max_rows, spec_.q_dim() + 2 * spec_.kv_dim()),
          .attended = buffer(max_rows, spec_.q_dim()),
          .gate_up = buffer(max_rows, 2 * spec_.ffn),
          .gated = buffer(max_rows, spec_.ffn)};
  logits_ = buffer(std::min<int64_t>(kLogitRowsMax, max_rows), spec_.vocab);
}

Result<void> Decoder::forward(std::span<const int32_t> tokens,
                              std::span<const SequenceRows> sequences, const Interrupt& interrupt) {
  const auto n = std::ssize(tokens);
  const auto first = [n](const at::Tensor& buffer) { return buffer.narrow(0, 0, n); };
  now_ = {first(all_.x),        first(all_.normed),  first(all_.qkv),
          first(all_.attended), first(all_.gate_up), first(all_.gated)};
  if (n == 0) return {};
  at::index_select_out(now_.x, weights_.embedding, 0, ids(tokens));
  const Attention attention(spec_, sequences);
  for (int32_t layer = 0; layer < spec_.n_layers; ++layer) {
    if (auto go_on = interrupt(); !go_on) return go_on;
    self_attention(layer, sequences, attention);
    feed_forward(weights_.layers[static_cast<size_t>(layer)]);
  }
  return {};
}

void Decoder::self_attention(int32_t layer, std::span<const SequenceRows> sequences,
                             const Attention& attention) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  norm_rows(now_.x, w.attention_norm, spec_.rms_eps, now_.normed);
  linear(now_.normed, w.qkv, now_.qkv);
  for (const SequenceRows& sequence : sequences) rotate_and_store(layer, sequence);
  attention.attend(layer, kv_, now_.qkv, now_.attended);
  add_linear(now_.x, now_.attended, w.o);
}

void Decoder::rotate_and_store(int32_t layer, const SequenceRows& sequence) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const auto q_dim = static_cast<size_t>(spec_.q_dim()),
             kv_dim = static_cast<size_t>(spec_.kv_dim());
  const auto hd = static_cast<size_t>(spec_.head_dim);
  const auto norm_heads = [&](std::span<float> heads, const at::Tensor& weight) {
    if (!weight.defined()) return;
    for (size_t at = 0; at < heads.size(); at += hd) {
      const auto head = heads.subspan(at, hd);
      rms_norm(head, values(weight), spec_.rms_eps, head);
    }
  };
  for (int32_t i = 0; i < sequence.n_rows; ++i) {
    const int32_t pos = sequence.pos0 + i;
    const auto row = row_of(now_.qkv, sequence.row0 + i);
    const auto q = row.subspan(0, q_dim), k = row.subspan(q_dim, kv_dim),
               v = row.subspan(q_dim + kv_dim);
    norm_heads(q, w.q_norm);
    norm_heads(k, w.k_norm);
    rotate_heads(q, rope_.cosine(pos), rope_.sine(pos));
    rotate_heads(k, rope_.cosine(pos), rope_.sine(pos));
    kv_.write(layer, sequence.table[static_cast<size_t>(pos / kBlockPositions)],
              pos % kBlockPositions, k.data(), v.data());
  }
}

void Decoder::feed_forward(const LayerWeights& w) {
  norm_rows(now_.x, w.ffn_norm, spec_.rms_eps, now_.normed);
  linear(now_.normed, w.gate_up, now_.gate_up);
  // SwiGLU (Shazeer 2020): silu(gate) * up
  at::silu_out(now_.gated, now_.gate_up.narrow(1, 0, spec_.ffn));
  now_.gated.mul_(now_.gate_up.narrow(1, spec_.ffn, spec_.ffn));
  add_linear(now_.x, now_.gated, w.down);
}

const at::Tensor& Decoder::logits(std::span<const int32_t> rows) {
  const at::Tensor x = at::index_select(now_.x, 0, ids(rows));
  norm_rows(x, weights_.output_norm, spec_.rms_eps, x);
  at::Tensor out = logits_.narrow(0, 0, std::ssize(rows));
  linear(x, weights_.head, out);
  return logits_;
}

}  // namespace troupe::torch_backend
