#include "model/files/gguf_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "model/in_quotes.h"

namespace troupe {

namespace {

constexpr std::array<std::string_view, 4> kArchitectures = {"llama", "mistral", "qwen2", "qwen3"};

/// Reads "<architecture>.<key>" values; keeps the first failure, so that a spec is read in one run
/// of lines.
class GgufFields {
 public:
  GgufFields(const GgufFile& file, std::string architecture, const std::string& name)
      : file_(file), architecture_(std::move(architecture)), name_(name) {}

  bool has(std::string_view key) const { return file_.metadata.contains(full(key)); }

  int32_t integer(std::string_view key) {
    const std::string at = full(key);
    if (!has(key)) return missing(at);
    std::optional<int64_t> value = file_.integer(at);
    // Some converters write one number per layer; equal ones are one number.
    if (const auto* each = file_.integers(at); each && !each->empty()) {
      if (std::ranges::adjacent_find(*each, std::ranges::not_equal_to{}) != each->end())
        return unsupported(fmt::format("{} differs between layers", in_quotes(at)));
      value = each->front();
    }
    if (!value || *value < 0 || *value > std::numeric_limits<int32_t>::max())
      return wrong(at, "a number of 31 bits");
    return static_cast<int32_t>(*value);
  }

  int32_t integer(std::string_view key, int32_t fallback) {
    return has(key) ? integer(key) : fallback;
  }

  double number(std::string_view key) {
    const std::string at = full(key);
    if (!has(key)) return missing(at);
    const auto value = file_.number(at);
    return value ? *value : wrong(at, "a number");
  }

  double number(std::string_view key, double fallback) { return has(key) ? number(key) : fallback; }

  std::string text(std::string_view key, std::string_view fallback) {
    if (!has(key)) return std::string(fallback);
    const auto* value = file_.text(full(key));
    if (value) return *value;
    wrong(full(key), "a text");
    return {};
  }

  int32_t unsupported(const std::string& what) {
    return keep(ErrorCode::unsupported, what + ", which is not supported");
  }

  const std::optional<Error>& error() const { return error_; }

 private:
  std::string full(std::string_view key) const { return fmt::format("{}.{}", architecture_, key); }
  int32_t missing(const std::string& at) {
    return keep(ErrorCode::data_loss, fmt::format("metadata {} is missing", in_quotes(at)));
  }
  int32_t wrong(const std::string& at, const char* wanted) {
    return keep(ErrorCode::data_loss, fmt::format("metadata {} is not {}", in_quotes(at), wanted));
  }
  int32_t keep(ErrorCode code, const std::string& what) {
    if (!error_)
      error_ = Error{code, fmt::format("{}: {}; use another file of the model.", name_, what), {}};
    return 0;
  }

  const GgufFile& file_;
  std::string architecture_;
  const std::string& name_;
  std::optional<Error> error_;
};

RopeSpec read_rope(GgufFields& fields, const GgufFile& file, const ModelSpec& spec) {
  RopeSpec rope;
  rope.base = fields.number("rope.freq_base", 10000);
  if (fields.integer("rope.dimension_count", spec.head_dim) != spec.head_dim)
    fields.unsupported("rotary embedding over a part of each head");
  const std::string scaling = fields.text("rope.scaling.type", "none");
  if (scaling == "linear") {
    rope.scaling = RopeScaling::linear;
    rope.factor = fields.number("rope.scaling.factor", 1);
  } else if (scaling != "none") {
    fields.unsupported(fmt::format("RoPE scaling {}", in_quotes(scaling)));
  } else if (fields.has("rope.scale_linear")) {  // the key of older converters
    rope.scaling = RopeScaling::linear;
    rope.factor = fields.number("rope.scale_linear");
  }
  if (rope.factor == 1) rope.scaling = RopeScaling::none;
  rope.original_context = fields.integer("rope.scaling.original_context_length", spec.context);
  const bool is_llama = spec.architecture == "llama" || spec.architecture == "mistral";
  rope.pairs = is_llama ? RopePairs::adjacent : RopePairs::halves;
  rope.has_freq_divisors = file.tensors.contains("rope_freqs.weight");
  return rope;
}

}  // namespace

Result<ModelSpec> spec_from_gguf(const GgufFile& file, const std::string& name) {
  const auto* architecture = file.text("general.architecture");
  if (!architecture)
    return fail(
        ErrorCode::data_loss,
        fmt::format("{}: metadata 'general.architecture' is missing; fetch the file again.", name));
  if (std::ranges::find(kArchitectures, *architecture) == kArchitectures.end())
    return fail(
        ErrorCode::unsupported,
        fmt::format("{}: architecture {} is not supported, only llama, mistral, qwen2 and qwen3.",
                    name, in_quotes(*architecture)));
  if (file.tensors.empty())
    return fail(
        ErrorCode::unsupported,
        fmt::format("{}: the file holds a vocabulary only; give a file with weights.", name));
  GgufFields fields(file, *architecture, name);
  ModelSpec spec;
  spec.architecture = *architecture;
  spec.n_layers = fields.integer("block_count");
  spec.hidden = fields.integer("embedding_length");
  spec.ffn = fields.integer("feed_forward_length");
  spec.n_heads = fields.integer("attention.head_count");
  spec.n_kv_heads = fields.integer("attention.head_count_kv", spec.n_heads);
  spec.context = fields.integer("context_length");
  spec.rms_eps = static_cast<float>(fields.number("attention.layer_norm_rms_epsilon"));
  spec.sliding_window = fields.integer("attention.sliding_window", 0);
  const int32_t divided = spec.n_heads > 0 ? spec.hidden / spec.n_heads : 0;
  spec.head_dim = fields.integer("attention.key_length", divided);
  if (fields.integer("attention.value_length", spec.head_dim) != spec.head_dim)
    fields.unsupported("a value length other than the key length");
  if (fields.integer("expert_count", 0) != 0) fields.unsupported("a mixture of experts");
  spec.rope = read_rope(fields, file, spec);
  if (fields.error()) return std::unexpected(*fields.error());

  const auto has = [&](TensorKind kind, int32_t layer) {
    return file.tensors.contains(gguf_tensor_name({kind, layer}));
  };
  spec.qkv_bias = has(TensorKind::q_bias, 0);
  spec.o_bias = has(TensorKind::o_bias, 0);
  spec.mlp_bias = has(TensorKind::gate_bias, 0);
  spec.qk_norm = has(TensorKind::q_norm, 0);
  spec.tied_embeddings = !has(TensorKind::output, -1);
  const auto embedding = file.tensors.find(gguf_tensor_name({TensorKind::token_embedding, -1}));
  if (embedding == file.tensors.end())
    return fail(
        ErrorCode::data_loss,
        fmt::format("{}: tensor 'token_embd.weight' is missing; fetch the file again.", name));
  spec.vocab = static_cast<int32_t>(
      std::min<int64_t>(embedding->second.rows, std::numeric_limits<int32_t>::max()));
  if (auto ok = check_spec(spec); !ok)
    return fail(ok.error().code, fmt::format("{}: {}", name, ok.error().message), ok.error().param);
  return spec;
}

std::string gguf_tensor_name(TensorId id) {
  using enum TensorKind;
  const auto layer = [&](const char* rest) { return fmt::format("blk.{}.{}", id.layer, rest); };
  switch (id.kind) {
    case token_embedding:
      return "token_embd.weight";
    case output_norm:
      return "output_norm.weight";
    case output:
      return "output.weight";
    case rope_freqs:
      return "rope_freqs.weight";
    case attention_norm:
      return layer("attn_norm.weight");
    case q:
      return layer("attn_q.weight");
    case k:
      return layer("attn_k.weight");
    case v:
      return layer("attn_v.weight");
    case q_bias:
      return layer("attn_q.bias");
    case k_bias:
      return layer("attn_k.bias");
    case v_bias:
      return layer("attn_v.bias");
    case q_norm:
      return layer("attn_q_norm.weight");
    case k_norm:
      return layer("attn_k_norm.weight");
    case o:
      return layer("attn_output.weight");
    case o_bias:
      return layer("attn_output.bias");
    case ffn_norm:
      return layer("ffn_norm.weight");
    case gate:
      return layer("ffn_gate.weight");
    case up:
      return layer("ffn_up.weight");
    case down:
      return layer("ffn_down.weight");
    case gate_bias:
      return layer("ffn_gate.bias");
    case up_bias:
      return layer("ffn_up.bias");
    case down_bias:
      return layer("ffn_down.bias");
  }
  return "?";
}

}  // namespace troupe
