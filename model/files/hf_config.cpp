#include "model/files/hf_config.h"

#include <fmt/format.h>

#include <limits>

#include "config/limits.h"
#include "model/files/json.h"
#include "model/in_quotes.h"

namespace troupe {

namespace {

std::vector<int64_t> eos_of(JsonElement root) {
  if (const auto one = json_get<int64_t>(root, "eos_token_id")) return {*one};
  constexpr size_t kEndsMax = 256;  // real lists have up to 4
  std::vector<int64_t> ids;
  if (const auto list = json_get<simdjson::dom::array>(root, "eos_token_id"))
    for (const JsonElement item : *list) {
      int64_t id = 0;
      if (item.get(id) == simdjson::SUCCESS && ids.size() < kEndsMax) ids.push_back(id);
    }
  return ids;
}

/// Reads fields with defaults; keeps the first failure, so that a spec is read in one run of lines.
class HfFields {
 public:
  HfFields(JsonElement root, const std::string& name) : root_(root), name_(name) {}

  int32_t integer(JsonElement from, std::string_view key,
                  std::optional<int32_t> fallback = std::nullopt) {
    const auto member = json_member(from, key);
    if (!member && fallback) return *fallback;
    int64_t value = 0;
    if (!member) return keep(ErrorCode::data_loss, fmt::format("'{}' is missing", key));
    if (member->get(value) != simdjson::SUCCESS || value < 0 ||
        value > std::numeric_limits<int32_t>::max())
      return keep(ErrorCode::data_loss, fmt::format("'{}' is not a number of 31 bits", key));
    return static_cast<int32_t>(value);
  }
  int32_t integer(std::string_view key, std::optional<int32_t> fallback = std::nullopt) {
    return integer(root_, key, fallback);
  }

  double number(JsonElement from, std::string_view key,
                std::optional<double> fallback = std::nullopt) {
    const auto member = json_member(from, key);
    if (!member && fallback) return *fallback;
    double value = 0;
    if (!member || member->get(value) != simdjson::SUCCESS)
      return keep(ErrorCode::data_loss,
                  fmt::format("'{}' is {}", key, member ? "not a number" : "missing"));
    return value;
  }

  bool flag(std::string_view key) {
    const auto member = json_member(root_, key);
    bool value = false;
    if (member && member->get(value) != simdjson::SUCCESS)
      keep(ErrorCode::data_loss, fmt::format("'{}' is neither true nor false", key));
    return value;
  }

  void unsupported(const std::string& what) {
    keep(ErrorCode::unsupported, fmt::format("{} is not supported", what));
  }

  JsonElement root() const { return root_; }
  const std::optional<Error>& error() const { return error_; }

 private:
  int32_t keep(ErrorCode code, const std::string& what) {
    if (!error_) error_ = Error{code, fmt::format("{}: {}; use another model.", name_, what), {}};
    return 0;
  }

  JsonElement root_;
  const std::string& name_;
  std::optional<Error> error_;
};

RopeSpec read_rope(HfFields& fields, const ModelSpec& spec) {
  RopeSpec rope;
  // Newer files keep all of it in rope_parameters, older ones the base outside and null without
  // scaling.
  auto from = json_member(fields.root(), "rope_parameters");
  const double outside = fields.number(fields.root(), "rope_theta", 10000);
  if (!from) from = json_member(fields.root(), "rope_scaling");
  rope.base = from ? fields.number(*from, "rope_theta", outside) : outside;
  rope.original_context = spec.context;
  if (!from) return rope;
  auto type = json_text(*from, "rope_type");
  if (type.empty()) type = json_text(*from, "type");
  if (fields.number(*from, "partial_rotary_factor", 1) != 1)
    fields.unsupported("rotary embedding over a part of each head");
  if (type.empty() || type == "default") return rope;
  if (type == "linear") {
    rope.scaling = RopeScaling::linear;
    rope.factor = fields.number(*from, "factor");
  } else if (type == "llama3") {
    rope.scaling = RopeScaling::llama3;
    rope.factor = fields.number(*from, "factor");
    rope.low_freq_factor = fields.number(*from, "low_freq_factor");
    rope.high_freq_factor = fields.number(*from, "high_freq_factor");
    rope.original_context = fields.integer(*from, "original_max_position_embeddings");
  } else {
    fields.unsupported(fmt::format("RoPE scaling {}", in_quotes(type)));
  }
  return rope;
}

/// Windows that hold for every layer; models that mix both kinds of layer are refused.
int32_t read_sliding_window(HfFields& fields, const ModelSpec& spec) {
  if (spec.architecture == "llama") return 0;
  const bool is_null = fields.root().at_key("sliding_window").error() == simdjson::SUCCESS;
  if (spec.architecture == "mistral") return fields.integer("sliding_window", is_null ? 0 : 4096);
  if (!fields.flag("use_sliding_window")) return 0;
  // Layers below max_window_layers see everything.
  const int32_t first = fields.integer("max_window_layers", 28);
  if (first >= spec.n_layers) return 0;
  if (first != 0) fields.unsupported("a sliding window in some of the layers");
  return fields.integer("sliding_window", 4096);
}

}  // namespace

Result<HfConfig> parse_hf_config(std::string_view json, const std::string& name) {
  const auto document = JsonDocument::parse(json, name);
  if (!document) return std::unexpected(document.error());
  HfFields fields(document->root(), name);
  HfConfig config;
  ModelSpec& spec = config.spec;
  spec.architecture = std::string(json_text(document->root(), "model_type"));
  const bool is_llama = spec.architecture == "llama", is_qwen2 = spec.architecture == "qwen2",
             is_qwen3 = spec.architecture == "qwen3", is_mistral = spec.architecture == "mistral";
  if (!is_llama && !is_qwen2 && !is_qwen3 && !is_mistral)
    return fail(
        ErrorCode::unsupported,
        fmt::format("{}: model type {} is not supported, only llama, mistral, qwen2 and qwen3.",
                    name, in_quotes(spec.architecture)));
  spec.n_layers = fields.integer("num_hidden_layers");
  spec.hidden = fields.integer("hidden_size");
  spec.ffn = fields.integer("intermediate_size");
  spec.n_heads = fields.integer("num_attention_heads");
  spec.n_kv_heads = fields.integer("num_key_value_heads", spec.n_heads);
  const int32_t divided = spec.n_heads > 0 ? spec.hidden / spec.n_heads : 0;
  spec.head_dim = fields.integer("head_dim", is_qwen3 ? 128 : divided);
  spec.vocab = fields.integer("vocab_size");
  spec.context = fields.integer("max_position_embeddings");
  spec.rms_eps = static_cast<float>(fields.number(document->root(), "rms_norm_eps", 1e-6));
  const bool attention_bias = fields.flag("attention_bias");
  spec.qkv_bias = is_qwen2 || (attention_bias && !is_mistral);
  spec.o_bias = attention_bias && (is_llama || is_qwen3);
  spec.mlp_bias = is_llama && fields.flag("mlp_bias");
  spec.qk_norm = is_qwen3;
  spec.tied_embeddings = fields.flag("tie_word_embeddings");
  spec.rope = read_rope(fields, spec);
  spec.sliding_window = read_sliding_window(fields, spec);
  const auto act = json_text(document->root(), "hidden_act");
  if (!act.empty() && act != "silu")
    fields.unsupported(fmt::format("hidden_act {}", in_quotes(act)));
  if (json_member(document->root(), "quantization_config"))
    fields.unsupported("a quantised checkpoint (quantization_config)");
  if (fields.error()) return std::unexpected(*fields.error());
  if (auto ok = check_spec(spec); !ok)
    return fail(ok.error().code, fmt::format("{}: {}", name, ok.error().message), ok.error().param);
  config.eos = eos_of(document->root());
  return config;
}

Result<std::vector<int64_t>> parse_generation_eos(std::string_view json, const std::string& name) {
  const auto document = JsonDocument::parse(json, name);
  if (!document) return std::unexpected(document.error());
  return eos_of(document->root());
}

}  // namespace troupe
