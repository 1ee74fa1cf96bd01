#include "model/weight_source.h"

namespace troupe {

std::string_view name_of(TensorKind kind) {
  switch (kind) {
    case TensorKind::token_embedding:
      return "token_embedding";
    case TensorKind::output_norm:
      return "output_norm";
    case TensorKind::output:
      return "output";
    case TensorKind::rope_freqs:
      return "rope_freqs";
    case TensorKind::attention_norm:
      return "attention_norm";
    case TensorKind::q:
      return "q";
    case TensorKind::k:
      return "k";
    case TensorKind::v:
      return "v";
    case TensorKind::q_bias:
      return "q_bias";
    case TensorKind::k_bias:
      return "k_bias";
    case TensorKind::v_bias:
      return "v_bias";
    case TensorKind::q_norm:
      return "q_norm";
    case TensorKind::k_norm:
      return "k_norm";
    case TensorKind::o:
      return "o";
    case TensorKind::o_bias:
      return "o_bias";
    case TensorKind::ffn_norm:
      return "ffn_norm";
    case TensorKind::gate:
      return "gate";
    case TensorKind::up:
      return "up";
    case TensorKind::down:
      return "down";
    case TensorKind::gate_bias:
      return "gate_bias";
    case TensorKind::up_bias:
      return "up_bias";
    case TensorKind::down_bias:
      return "down_bias";
  }
  return "?";
}

int64_t weight_bytes(const WeightSource& source, int32_t layers) {
  int64_t bytes = 0;
  for (int kind = 0; kind < kTensorKinds; ++kind)
    for (int32_t layer = -1; layer < layers; ++layer)
      if (const auto info = source.info({static_cast<TensorKind>(kind), layer}))
        bytes += info->rows * row_bytes(traits_of(info->dtype), info->cols);
  return bytes;
}

}  // namespace troupe
