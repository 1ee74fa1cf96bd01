#include "model/files/tensor_table.h"

#include <fmt/format.h>

#include <map>
#include <mutex>

#include "model/files/weights_id.h"
#include "model/in_quotes.h"

namespace troupe {

namespace {

struct Expected {
  TensorId id;
  int64_t rows, cols;
};

/// Every tensor of the model, from its hyper-parameters alone.
std::vector<Expected> expected_tensors(const ModelSpec& spec) {
  using enum TensorKind;
  const int64_t hidden = spec.hidden, ffn = spec.ffn, q_dim = spec.q_dim(), kv_dim = spec.kv_dim();
  std::vector<Expected> all{{{token_embedding, -1}, spec.vocab, hidden},
                            {{output_norm, -1}, 1, hidden}};
  if (!spec.tied_embeddings) all.push_back({{output, -1}, spec.vocab, hidden});
  if (spec.rope.has_freq_divisors) all.push_back({{rope_freqs, -1}, 1, spec.head_dim / 2});
  for (int32_t layer = 0; layer < spec.n_layers; ++layer) {
    const auto add = [&](TensorKind kind, int64_t rows, int64_t cols) {
      all.push_back({{kind, layer}, rows, cols});
    };
    add(attention_norm, 1, hidden);
    add(q, q_dim, hidden);
    add(k, kv_dim, hidden);
    add(v, kv_dim, hidden);
    if (spec.qkv_bias) {
      add(q_bias, 1, q_dim);
      add(k_bias, 1, kv_dim);
      add(v_bias, 1, kv_dim);
    }
    if (spec.qk_norm) {
      add(q_norm, 1, spec.head_dim);
      add(k_norm, 1, spec.head_dim);
    }
    add(o, hidden, q_dim);
    if (spec.o_bias) add(o_bias, 1, hidden);
    add(ffn_norm, 1, hidden);
    add(gate, ffn, hidden);
    add(up, ffn, hidden);
    add(down, hidden, ffn);
    if (spec.mlp_bias) {
      add(gate_bias, 1, ffn);
      add(up_bias, 1, ffn);
      add(down_bias, 1, hidden);
    }
  }
  return all;
}

class TensorTable final : public WeightSource {
 public:
  TensorTable(std::vector<std::shared_ptr<const MappedFile>> files,
              std::map<TensorId, FileTensor> tensors, const WeightsIdMemory& memory)
      : files_(std::move(files)), tensors_(std::move(tensors)), memory_(memory) {}

  Result<TensorInfo> info(TensorId id) const override {
    const auto found = tensors_.find(id);
    if (found == tensors_.end()) return unknown(id);
    return TensorInfo{found->second.dtype, found->second.rows, found->second.cols};
  }

  Result<std::span<const std::byte>> rows(TensorId id, RowRange range) const override {
    const auto found = tensors_.find(id);
    if (found == tensors_.end()) return unknown(id);
    const FileTensor& tensor = found->second;
    if (range.begin < 0 || range.end < range.begin || range.end > tensor.rows)
      return fail(ErrorCode::invalid_argument,
                  fmt::format("Rows {} to {} of tensor {} were asked for, it has {}.", range.begin,
                              range.end, name_of(id.kind), tensor.rows));
    const auto row = static_cast<size_t>(row_bytes(traits_of(tensor.dtype), tensor.cols));
    return tensor.bytes.subspan(static_cast<size_t>(range.begin) * row,
                                static_cast<size_t>(range.size()) * row);
  }

  Digest weights_id() const override {
    std::call_once(digested_, [this] {
      std::vector<FileFacts> facts;
      for (const auto& file : files_) facts.push_back(file->facts());
      if (const auto known = memory_.recall(facts)) {
        digest_ = *known;
        return;
      }
      std::vector<std::span<const std::byte>> parts;
      for (const auto& file : files_) parts.push_back(file->bytes());
      digest_ = weights_id_of(parts);
      memory_.remember(facts, digest_);
    });
    return digest_;
  }

 private:
  static std::unexpected<Error> unknown(TensorId id) {
    return fail(ErrorCode::not_found,
                fmt::format("The model has no tensor {} in layer {}.", name_of(id.kind), id.layer));
  }

  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::map<TensorId, FileTensor> tensors_;
  WeightsIdMemory memory_;
  mutable std::once_flag digested_;
  mutable Digest digest_{};
};

}  // namespace

Result<std::shared_ptr<const WeightSource>> make_tensor_table(
    const ModelSpec& spec, std::vector<std::shared_ptr<const MappedFile>> files,
    const FindTensor& find, const NameTensor& name_tensor, const std::string& name,
    const WeightsIdMemory& memory) {
  std::map<TensorId, FileTensor> tensors;
  for (const Expected& expected : expected_tensors(spec)) {
    const auto found = find(expected.id);
    if (!found)
      return fail(
          ErrorCode::data_loss,
          fmt::format(
              "{}: tensor {} is missing; the file is incomplete or of another kind of model.", name,
              in_quotes(name_tensor(expected.id))));
    if (found->rows != expected.rows || found->cols != expected.cols)
      return fail(
          ErrorCode::data_loss,
          fmt::format(
              "{}: tensor {} has the shape {} x {}, the model's parameters ask for {} x {}.", name,
              in_quotes(name_tensor(expected.id)), found->rows, found->cols, expected.rows,
              expected.cols));
    tensors.emplace(expected.id, *found);
  }
  return std::make_shared<const TensorTable>(std::move(files), std::move(tensors), memory);
}

}  // namespace troupe
