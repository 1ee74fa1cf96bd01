// A model of random weights in any mix of formats, made in memory: for tests that compare a backend
// with itself.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "model/dtype.h"
#include "model/files/model_files.h"
#include "model/model_spec.h"
#include "model/weight_source.h"

namespace troupe::test {

class RandomWeights final : public WeightSource {
 public:
  /// `dtype_of` says how each matrix is kept; vectors are float32.
  RandomWeights(const ModelSpec& spec, uint64_t seed, std::function<DType(TensorId)> dtype_of)
      : spec_(spec), random_(seed), dtype_of_(std::move(dtype_of)) {
    const auto q = spec.q_dim(), kv = spec.kv_dim();
    matrix({TensorKind::token_embedding, -1}, spec.vocab, spec.hidden);
    if (!spec.tied_embeddings) matrix({TensorKind::output, -1}, spec.vocab, spec.hidden);
    vector({TensorKind::output_norm, -1}, spec.hidden, 1);
    for (int32_t l = 0; l < spec.n_layers; ++l) {
      vector({TensorKind::attention_norm, l}, spec.hidden, 1);
      vector({TensorKind::ffn_norm, l}, spec.hidden, 1);
      matrix({TensorKind::q, l}, q, spec.hidden);
      matrix({TensorKind::k, l}, kv, spec.hidden);
      matrix({TensorKind::v, l}, kv, spec.hidden);
      matrix({TensorKind::o, l}, spec.hidden, q);
      matrix({TensorKind::gate, l}, spec.ffn, spec.hidden);
      matrix({TensorKind::up, l}, spec.ffn, spec.hidden);
      matrix({TensorKind::down, l}, spec.hidden, spec.ffn);
      if (spec.qkv_bias) {
        vector({TensorKind::q_bias, l}, q, 0);
        vector({TensorKind::k_bias, l}, kv, 0);
        vector({TensorKind::v_bias, l}, kv, 0);
      }
      if (spec.o_bias) vector({TensorKind::o_bias, l}, spec.hidden, 0);
      if (spec.mlp_bias) {
        vector({TensorKind::gate_bias, l}, spec.ffn, 0);
        vector({TensorKind::up_bias, l}, spec.ffn, 0);
        vector({TensorKind::down_bias, l}, spec.hidden, 0);
      }
      if (spec.qk_norm) {
        vector({TensorKind::q_norm, l}, spec.head_dim, 1);
        vector({TensorKind::k_norm, l}, spec.head_dim, 1);
      }
    }
  }

  /// The bytes of a tensor, for a test that puts odd values into them.
  std::vector<std::byte>& bytes(TensorId id) { return tensors_.at(id).bytes; }

  Result<TensorInfo> info(TensorId id) const override {
    const auto found = tensors_.find(id);
    if (found == tensors_.end()) return fail(ErrorCode::not_found, "no such tensor");
    return found->second.info;
  }
  Result<std::span<const std::byte>> rows(TensorId id, RowRange range) const override {
    const auto& t = tensors_.at(id);
    const auto row = static_cast<size_t>(row_bytes(traits_of(t.info.dtype), t.info.cols));
    return std::span(t.bytes).subspan(static_cast<size_t>(range.begin) * row,
                                      static_cast<size_t>(range.size()) * row);
  }
  Digest weights_id() const override { return {1}; }

 private:
  struct Tensor {
    TensorInfo info;
    std::vector<std::byte> bytes;
  };

  float uniform(float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(random_);
  }
  void vector(TensorId id, int64_t size, float around) {
    Tensor& t = tensors_[id];
    t.info = {DType::f32, 1, size};
    t.bytes.resize(static_cast<size_t>(size) * 4);
    for (int64_t i = 0; i < size; ++i) {
      const float value = around + uniform(-0.3f, 0.3f);
      std::memcpy(t.bytes.data() + i * 4, &value, 4);
    }
  }
  void matrix(TensorId id, int64_t rows, int64_t cols) {
    Tensor& t = tensors_[id];
    t.info = {dtype_of_(id), rows, cols};
    const DTypeTraits& traits = traits_of(t.info.dtype);
    t.bytes.resize(static_cast<size_t>(rows * row_bytes(traits, cols)));
    for (std::byte& b : t.bytes) b = static_cast<std::byte>(random_() & 0xff);
    const float unit = 2 / std::sqrt(static_cast<float>(cols));
    for (size_t at = 0; at < t.bytes.size(); at += static_cast<size_t>(traits.bytes))
      tame(t.info.dtype, t.bytes.data() + at, unit);
  }
  /// `value`, or now and then what is odd but sound in a file: a zero, a number whose float16 is
  /// subnormal, the value turned round.
  float sometimes_odd(float value) {
    switch (random_() % 24) {
      case 0:
        return 0;
      case 1:
        return uniform(-0x1p-14f, 0x1p-14f);
      case 2:
        return -value;
      default:
        return value;
    }
  }
  void put_half(std::byte* at, float value) {
    const uint16_t half = f32_to_f16(sometimes_odd(value));
    std::memcpy(at, &half, 2);
  }
  /// Gives a block of random bytes scales that make weights of about `unit`, but for some odd ones.
  void tame(DType dtype, std::byte* block, float unit) {
    const float s = unit * uniform(0.3f, 1);
    switch (dtype) {
      case DType::f32: {
        const float value = sometimes_odd(uniform(-unit, unit));
        std::memcpy(block, &value, 4);
        break;
      }
      case DType::f16:
        put_half(block, uniform(-unit, unit));
        break;
      case DType::bf16: {
        const auto bits =
            static_cast<uint16_t>(std::bit_cast<uint32_t>(uniform(-unit, unit)) >> 16);
        std::memcpy(block, &bits, 2);
        break;
      }
      case DType::q4_0:
        put_half(block, s / 8);
        break;
      case DType::q4_1:
        put_half(block, s / 8);
        put_half(block + 2, -s);
        break;
      case DType::q5_0:
        put_half(block, s / 16);
        break;
      case DType::q5_1:
        put_half(block, s / 16);
        put_half(block + 2, -s);
        break;
      case DType::q8_0:
        put_half(block, s / 128);
        break;
      case DType::q4_k:
        put_half(block, s / 8 / 32);
        put_half(block + 2, s / 32);
        break;
      case DType::q5_k:
        put_half(block, s / 16 / 32);
        put_half(block + 2, s / 32);
        break;
      case DType::q6_k:
        put_half(block + 208, s / 32 / 64);
        break;
    }
  }

  ModelSpec spec_;
  std::mt19937_64 random_;
  std::function<DType(TensorId)> dtype_of_;
  std::map<TensorId, Tensor> tensors_;
};

inline OpenedModel random_model(const ModelSpec& spec, uint64_t seed,
                                std::function<DType(TensorId)> dtype_of) {
  OpenedModel model;
  model.name = "random";
  model.bundle.spec = spec;
  model.weights = std::make_shared<RandomWeights>(spec, seed, std::move(dtype_of));
  return model;
}

}  // namespace troupe::test
