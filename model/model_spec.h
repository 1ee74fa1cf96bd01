// What a Llama-family decoder is, as data: all variants (Llama 2/3, SmolLM2, Qwen2/2.5/3, Mistral)
// differ only in these fields. Made by the readers of model/files/, checked once by `check_spec`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "config/result.h"

namespace troupe {

enum class RopeScaling : uint8_t { none, linear, llama3 };

/// Which two elements of a q/k row a rotation mixes *in the file*. Backends work on halves
/// (numerics N10).
enum class RopePairs : uint8_t {
  halves,    ///< (i, i + head_dim/2): Hugging Face files, GGUF of qwen2/qwen3
  adjacent,  ///< (2i, 2i + 1): GGUF of the llama architecture (llama, mistral, smollm2)
};

/// Rotary embedding, Su et al. 2021; llama3 scaling as in Meta's Llama 3.1 reference.
struct RopeSpec {
  double base = 10000;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;            ///< linear: positions / factor; llama3: low frequencies / factor
  double low_freq_factor = 1;   ///< llama3 only
  double high_freq_factor = 4;  ///< llama3 only
  int32_t original_context = 8192;
  RopePairs pairs = RopePairs::halves;
  /// A GGUF may carry its own divisors of the frequencies (tensor rope_freqs, head_dim/2 values);
  /// then they are used in place of the llama3 formula.
  bool has_freq_divisors = false;
  bool operator==(const RopeSpec&) const = default;
};

struct ModelSpec {
  std::string architecture;  ///< "llama", "qwen2", "qwen3", "mistral", "oracle"
  int32_t n_layers = 0, hidden = 0, ffn = 0;
  int32_t n_heads = 0, n_kv_heads = 0, head_dim = 0;
  int32_t vocab = 0;
  int32_t context = 0;  ///< positions the model was trained for
  float rms_eps = 1e-5f;
  RopeSpec rope;
  bool qkv_bias = false;         ///< Qwen2
  bool o_bias = false;           ///< Llama with attention_bias
  bool mlp_bias = false;         ///< Llama with mlp_bias
  bool qk_norm = false;          ///< Qwen3: RMSNorm over head_dim of each q and k head
  bool tied_embeddings = false;  ///< the output head is the token embedding
  int32_t sliding_window = 0;    ///< 0: none. A query at p sees positions > p - window
  int32_t kv_dim() const { return n_kv_heads * head_dim; }
  int32_t q_dim() const { return n_heads * head_dim; }
  bool operator==(const ModelSpec&) const = default;
};

/// Refuses what no backend can compute: sizes out of bounds of config/limits.h, heads that don't
/// divide, odd head_dim, non-finite numbers. One sentence names the field.
Result<void> check_spec(const ModelSpec& spec);

}  // namespace troupe
