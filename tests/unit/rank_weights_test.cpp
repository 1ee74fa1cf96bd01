#include "model/rank_weights.h"

#include <doctest/doctest.h>

#include <map>

using namespace troupe;

namespace rank_weights_test {
namespace {

/// Shapes without bytes.
class Shapes final : public WeightSource {
 public:
  std::map<TensorId, TensorInfo> tensors;
  Result<TensorInfo> info(TensorId id) const override {
    const auto at = tensors.find(id);
    if (at == tensors.end()) return fail(ErrorCode::not_found, "no such tensor");
    return at->second;
  }
  Result<std::span<const std::byte>> rows(TensorId, RowRange) const override {
    return fail(ErrorCode::not_found, "shapes only");
  }
  Digest weights_id() const override { return {}; }
};

ModelSpec spec(bool tied) {
  ModelSpec s;
  s.n_layers = 2;
  s.hidden = 64;
  s.ffn = 128;
  s.n_heads = 4;
  s.n_kv_heads = 2;
  s.head_dim = 16;
  s.vocab = 1024;
  s.context = 64;
  s.tied_embeddings = tied;
  return s;
}

Shapes model(const ModelSpec& s) {
  Shapes m;
  m.tensors[{TensorKind::token_embedding, -1}] = {DType::f16, s.vocab, s.hidden};
  m.tensors[{TensorKind::output_norm, -1}] = {DType::f32, 1, s.hidden};
  if (!s.tied_embeddings) m.tensors[{TensorKind::output, -1}] = {DType::f16, s.vocab, s.hidden};
  for (int32_t layer = 0; layer < s.n_layers; ++layer) {
    m.tensors[{TensorKind::attention_norm, layer}] = {DType::f32, 1, s.hidden};
    m.tensors[{TensorKind::q, layer}] = {DType::f16, s.q_dim(), s.hidden};
    m.tensors[{TensorKind::k, layer}] = {DType::f16, s.kv_dim(), s.hidden};
    m.tensors[{TensorKind::v, layer}] = {DType::f16, s.kv_dim(), s.hidden};
    m.tensors[{TensorKind::o, layer}] = {DType::f16, s.hidden, s.q_dim()};
    m.tensors[{TensorKind::gate, layer}] = {DType::f16, s.ffn, s.hidden};
    m.tensors[{TensorKind::up, layer}] = {DType::f16, s.ffn, s.hidden};
    m.tensors[{TensorKind::down, layer}] = {DType::f16, s.hidden, s.ffn};
  }
  return m;
}

// By hand, in bytes: q and o 64x64, k and v 32x64, three of 128x64; halves.
constexpr int64_t kMatrices = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 128 * 64);
constexpr int64_t kNorm = 4 * 64, kEmbedding = 2 * 1024 * 64;

int64_t bytes(const ModelSpec& s, int32_t tensor, int32_t pipeline, size_t rank) {
  const auto plan = plan_partitions(s, tensor, pipeline);
  REQUIRE(plan.has_value());
  return weight_bytes(model(s), s, plan->ranks.at(rank));
}

}  // namespace

TEST_CASE("rank weights: one rank keeps all of the file") {
  for (const bool tied : {true, false}) {
    CHECK(bytes(spec(tied), 1, 1, 0) == weight_bytes(model(spec(tied)), 2));
    CHECK(bytes(spec(tied), 1, 1, 0) ==
          2 * (kMatrices + kNorm) + kNorm + kEmbedding * (tied ? 1 : 2));
  }
}

TEST_CASE("rank weights: tensor ranks share the matrices, each has the embedding and the norms") {
  CHECK(bytes(spec(true), 2, 1, 0) == 2 * (kMatrices / 2 + kNorm) + kNorm + kEmbedding);
  CHECK(bytes(spec(false), 2, 1, 1) ==
        2 * (kMatrices / 2 + kNorm) + kNorm + kEmbedding + kEmbedding / 2);
}

TEST_CASE("rank weights: a stage has its layers, the first the embedding, the last the head") {
  CHECK(bytes(spec(false), 1, 2, 0) == kMatrices + kNorm + kEmbedding);
  CHECK(bytes(spec(false), 1, 2, 1) == kMatrices + kNorm + kNorm + kEmbedding);
  // A tied head is the embedding's rows, wherever it is.
  CHECK(bytes(spec(true), 1, 2, 1) == kMatrices + kNorm + kNorm + kEmbedding);
  CHECK(bytes(spec(true), 2, 2, 3) == kMatrices / 2 + kNorm + kNorm + kEmbedding / 2);
}

TEST_CASE("rank weights: stages cost what a decoding row reads of the file, in its formats") {
  for (const bool tied : {true, false}) {
    const ModelSpec s = spec(tied);
    Shapes m = model(s);
    m.tensors[{TensorKind::down, 1}].dtype = DType::f32;
    (tied ? m.tensors[{TensorKind::token_embedding, -1}] : m.tensors[{TensorKind::output, -1}])
        .dtype = DType::f32;
    const StageCosts costs = decode_costs(m, s);
    CHECK(costs.embedding == 0);
    CHECK(costs.head == kNorm + 2 * kEmbedding);
    REQUIRE(costs.layers.size() == 2);
    CHECK(costs.layers[0] == kMatrices + kNorm);
    CHECK(costs.layers[1] == kMatrices + kNorm + 2 * 128 * 64);
  }
}

}  // namespace rank_weights_test
