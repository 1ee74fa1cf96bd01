#include "model/torch/weights.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace troupe::torch_backend {

namespace {

/// Which row of a head (of `head_dim` rows) file row `row` becomes: pairs (2i, 2i+1) are taken
/// apart to (i, i + head_dim/2). head_dim 0: no change.
int64_t halves_row(int64_t row, int32_t head_dim) {
  if (head_dim == 0) return row;
  const int64_t head = row / head_dim * head_dim, within = row % head_dim;
  return head + within / 2 + (within % 2) * (head_dim / 2);
}

/// Converts a range of rows of one tensor into place.
struct Job {
  TensorId id;
  TensorInfo info;
  RowRange rows;
  float* out = nullptr;  ///< of row 0
  int32_t interleaved_head = 0;
};

std::string describe(TensorId id) {
  std::string text(name_of(id.kind));
  return id.layer < 0 ? text : text + " of layer " + std::to_string(id.layer);
}

Result<void> convert(const WeightSource& source, const Job& job) {
  const auto bytes = source.rows(job.id, job.rows);
  if (!bytes) return std::unexpected(bytes.error());
  const int64_t cols = job.info.cols;
  const size_t row_size = bytes->size() / static_cast<size_t>(job.rows.size());
  const bool vector = job.info.rows == 1;
  std::vector<float> line(vector ? static_cast<size_t>(cols) : 0);
  for (int64_t row = job.rows.begin; row < job.rows.end; ++row) {
    const auto in = bytes->subspan(static_cast<size_t>(row - job.rows.begin) * row_size, row_size);
    if (!vector) {
      float* out = job.out + halves_row(row, job.interleaved_head) * cols;
      dequantise(job.info.dtype, in, {out, static_cast<size_t>(cols)});
      continue;
    }
    dequantise(job.info.dtype, in, line);
    for (int64_t i = 0; i < cols; ++i)
      job.out[halves_row(i, job.interleaved_head)] = line[static_cast<size_t>(i)];
  }
  return {};
}

/// Collects jobs while tensors are laid out, then runs them all.
class Loader {
 public:
  Loader(const WeightSource& source, const ModelSpec& spec) : source_(source), spec_(spec) {}

  /// [rows, cols] made of the tensors in order, each with so many rows.
  struct Part {
    TensorKind kind;
    int64_t rows;
    int32_t interleaved_head = 0;
  };
  at::Tensor matrix(int32_t layer, const std::vector<Part>& parts, int64_t cols) {
    int64_t rows = 0;
    for (const Part& part : parts) rows += part.rows;
    at::Tensor tensor = at::empty({rows, cols}, at::kFloat);
    float* out = tensor.data_ptr<float>();
    for (const Part& part : parts) {
      plan({part.kind, layer}, part.rows, cols, out, part.interleaved_head);
      out += part.rows * cols;
    }
    return tensor;
  }
  /// [sum of rows]: vectors one after the other.
  at::Tensor vector(int32_t layer, const std::vector<Part>& parts) {
    int64_t size = 0;
    for (const Part& part : parts) size += part.rows;
    at::Tensor tensor = at::empty({size}, at::kFloat);
    float* out = tensor.data_ptr<float>();
    for (const Part& part : parts) {
      plan({part.kind, layer}, 1, part.rows, out, part.interleaved_head);
      out += part.rows;
    }
    return tensor;
  }
  void plan(TensorId id, int64_t rows, int64_t cols, float* out, int32_t interleaved_head) {
    if (failure_) return;
    const auto info = source_.info(id);
    if (!info) {
      failure_ = Error{ErrorCode::data_loss,
                       "The model file lacks the tensor " + describe(id) +
                           ", which its metadata promises: get a complete file.",
                       ""};
      return;
    }
    if (info->rows * info->cols != rows * cols || (rows > 1 && info->rows != rows)) {
      failure_ = Error{ErrorCode::data_loss,
                       "The tensor " + describe(id) + " has the shape [" +
                           std::to_string(info->rows) + ", " + std::to_string(info->cols) +
                           "] instead of [" + std::to_string(rows) + ", " + std::to_string(cols) +
                           "]: the model file is damaged or of another kind.",
                       ""};
      return;
    }
    constexpr int64_t kWeightsPerJob = 1 << 18;
    const int64_t step = std::max<int64_t>(1, kWeightsPerJob / info->cols);
    for (int64_t row = 0; row < info->rows; row += step)
      jobs_.push_back({id, *info, {row, std::min(info->rows, row + step)}, out, interleaved_head});
  }

  Result<void> run(int threads) {
    if (failure_) return std::unexpected(*failure_);
    std::atomic<size_t> next{0};
    std::mutex mutex;
    const auto work = [&] {
      for (size_t i = next++; i < jobs_.size(); i = next++) {
        const auto done = convert(source_, jobs_[i]);
        if (done) continue;
        const std::lock_guard lock(mutex);
        failure_ = done.error();
        next = jobs_.size();
      }
    };
    std::vector<std::jthread> helpers;
    for (int i = 1; i < threads; ++i) helpers.emplace_back(work);
    work();
    helpers.clear();
    if (failure_) return std::unexpected(*failure_);
    return {};
  }

  const ModelSpec& spec() const { return spec_; }

 private:
  const WeightSource& source_;
  const ModelSpec& spec_;
  std::vector<Job> jobs_;
  std::optional<Error> failure_;
};

using Kind = TensorKind;

LayerWeights plan_layer(Loader& loader, int32_t layer) {
  const ModelSpec& spec = loader.spec();
  const int32_t interleaved = spec.rope.pairs == RopePairs::adjacent ? spec.head_dim : 0;
  LayerWeights w;
  w.attention_norm = loader.vector(layer, {{Kind::attention_norm, spec.hidden}});
  w.qkv.weight_t = loader
                       .matrix(layer,
                               {{Kind::q, spec.q_dim(), interleaved},
                                {Kind::k, spec.kv_dim(), interleaved},
                                {Kind::v, spec.kv_dim()}},
                               spec.hidden)
                       .t();
  if (spec.qkv_bias)
    w.qkv.bias = loader.vector(layer, {{Kind::q_bias, spec.q_dim(), interleaved},
                                       {Kind::k_bias, spec.kv_dim(), interleaved},
                                       {Kind::v_bias, spec.kv_dim()}});
  if (spec.qk_norm) {
    w.q_norm = loader.vector(layer, {{Kind::q_norm, spec.head_dim, interleaved}});
    w.k_norm = loader.vector(layer, {{Kind::k_norm, spec.head_dim, interleaved}});
  }
  w.o.weight_t = loader.matrix(layer, {{Kind::o, spec.hidden}}, spec.q_dim()).t();
  if (spec.o_bias) w.o.bias = loader.vector(layer, {{Kind::o_bias, spec.hidden}});
  w.ffn_norm = loader.vector(layer, {{Kind::ffn_norm, spec.hidden}});
  w.gate_up.weight_t =
      loader.matrix(layer, {{Kind::gate, spec.ffn}, {Kind::up, spec.ffn}}, spec.hidden).t();
  w.down.weight_t = loader.matrix(layer, {{Kind::down, spec.hidden}}, spec.ffn).t();
  if (spec.mlp_bias) {
    w.gate_up.bias = loader.vector(layer, {{Kind::gate_bias, spec.ffn}, {Kind::up_bias, spec.ffn}});
    w.down.bias = loader.vector(layer, {{Kind::down_bias, spec.hidden}});
  }
  return w;
}

}  // namespace

Result<DecoderWeights> load_weights(const WeightSource& source, const ModelSpec& spec,
                                    int threads) {
  Loader loader(source, spec);
  DecoderWeights w;
  w.embedding = loader.matrix(-1, {{Kind::token_embedding, spec.vocab}}, spec.hidden);
  for (int32_t layer = 0; layer < spec.n_layers; ++layer)
    w.layers.push_back(plan_layer(loader, layer));
  w.output_norm = loader.vector(-1, {{Kind::output_norm, spec.hidden}});
  w.head.weight_t = spec.tied_embeddings
                        ? w.embedding.t()
                        : loader.matrix(-1, {{Kind::output, spec.vocab}}, spec.hidden).t();
  if (spec.rope.has_freq_divisors) {
    w.rope_freqs.resize(static_cast<size_t>(spec.head_dim / 2));
    loader.plan({Kind::rope_freqs, -1}, 1, spec.head_dim / 2, w.rope_freqs.data(), 0);
  }
  if (auto ok = loader.run(threads); !ok) return std::unexpected(ok.error());
  return w;
}

}  // namespace troupe::torch_backend
