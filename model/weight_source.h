// Where a Partition's weights come from: a model file, later a peer. Implementations check every
// offset and size before they hand out a span; a backend may trust the extents it was given.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "config/ids.h"
#include "config/result.h"
#include "model/dtype.h"

namespace troupe {

enum class TensorKind : uint8_t {
  token_embedding,  ///< [vocab, hidden]
  output_norm,      ///< [hidden]
  output,           ///< [vocab, hidden]; absent when embeddings are tied
  rope_freqs,       ///< [head_dim / 2] divisors; GGUF of Llama 3.1 only
  attention_norm,   ///< [hidden], and so on per layer
  q,
  k,
  v,  ///< [q_dim, hidden], [kv_dim, hidden], [kv_dim, hidden]
  q_bias,
  k_bias,
  v_bias,
  q_norm,
  k_norm,  ///< [head_dim]
  o,       ///< [hidden, q_dim]
  o_bias,
  ffn_norm,
  gate,
  up,    ///< [ffn, hidden]
  down,  ///< [hidden, ffn]
  gate_bias,
  up_bias,
  down_bias,
};

std::string_view name_of(TensorKind kind);

struct TensorId {
  TensorKind kind = TensorKind::token_embedding;
  int32_t layer = -1;  ///< -1 for tensors outside the layers
  constexpr auto operator<=>(const TensorId&) const = default;
};

struct TensorInfo {
  DType dtype = DType::f32;
  int64_t rows = 0;  ///< output features (1 for vectors)
  int64_t cols = 0;  ///< contiguous; a multiple of the dtype's block
};

inline constexpr int kTensorKinds = static_cast<int>(TensorKind::down_bias) + 1;

/// Half-open range of rows.
struct RowRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const RowRange&) const = default;
};

/// Thread-safe for reading.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  /// not_found if the file has no such tensor.
  virtual Result<TensorInfo> info(TensorId id) const = 0;
  /// Contiguous bytes of whole rows as they stand in the file; valid as long as the source.
  virtual Result<std::span<const std::byte>> rows(TensorId id, RowRange range) const = 0;
  /// sha256 over the digests of 4 MiB chunks of all weight bytes. Computed once, may take a second
  /// a GB.
  virtual Digest weights_id() const = 0;
};

/// Of all tensors of a model of `layers` layers, as they stand in the file.
int64_t weight_bytes(const WeightSource& source, int32_t layers);

}  // namespace troupe
