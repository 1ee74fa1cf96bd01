#include "model/rank_weights.h"

#include <algorithm>

namespace troupe {

namespace {

/// Of a tensor outside the layers.
int64_t outer_rows(TensorKind kind, int64_t rows, const ModelSpec& spec, const RankPlan& rank) {
  switch (kind) {
    case TensorKind::token_embedding:
      if (rank.embeds) return rows;
      return rank.has_head && spec.tied_embeddings ? rank.vocab.size() : 0;
    case TensorKind::output:
      return rank.has_head ? rank.vocab.size() : 0;
    case TensorKind::output_norm:
      return rank.has_head ? rows : 0;
    default:
      return rows;
  }
}

int64_t layer_rows(TensorKind kind, int64_t rows, const ModelSpec& spec, const RankPlan& rank) {
  switch (kind) {
    case TensorKind::q:
      return rank.q_heads.size() * spec.head_dim;
    case TensorKind::k:
    case TensorKind::v:
      return rank.kv_heads.size() * spec.head_dim;
    case TensorKind::gate:
    case TensorKind::up:
      return rank.ffn.size();
    case TensorKind::o:
    case TensorKind::down:
      return rank.hidden.size();
    default:
      return rows;  // vectors are kept whole
  }
}

}  // namespace

int64_t weight_bytes(const WeightSource& source, const ModelSpec& spec, const RankPlan& rank) {
  int64_t bytes = 0;
  const auto add = [&](TensorId id, auto rows_of) {
    if (const auto info = source.info(id))
      bytes += std::min(info->rows, rows_of(id.kind, info->rows, spec, rank)) *
               row_bytes(traits_of(info->dtype), info->cols);
  };
  for (int kind = 0; kind < kTensorKinds; ++kind) {
    add({static_cast<TensorKind>(kind), -1}, outer_rows);
    for (int32_t layer = rank.first_layer; layer < rank.last_layer; ++layer)
      add({static_cast<TensorKind>(kind), layer}, layer_rows);
  }
  return bytes;
}

StageCosts decode_costs(const WeightSource& source, const ModelSpec& spec) {
  RankPlan part = whole_model(spec).ranks.front();
  part.embeds = false;  // a row of it
  part.last_layer = part.first_layer;
  StageCosts costs;
  costs.head = static_cast<double>(weight_bytes(source, spec, part));
  part.has_head = false;
  for (int32_t layer = 0; layer < spec.n_layers; ++layer) {
    part.first_layer = layer;
    part.last_layer = layer + 1;
    costs.layers.push_back(static_cast<double>(weight_bytes(source, spec, part)));
  }
  return costs;
}

}  // namespace troupe
