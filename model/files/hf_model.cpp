#include "model/files/hf_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <vector>

#include "config/limits.h"
#include "model/files/end_of_generation.h"
#include "model/files/hf_config.h"
#include "model/files/json.h"
#include "model/files/mapped_file.h"
#include "model/files/safetensors.h"
#include "model/files/safetensors_index.h"
#include "model/files/tensor_table.h"
#include "model/files/tokenizer_json.h"
#include "model/in_quotes.h"

namespace troupe {

namespace {

std::string hf_tensor_name(TensorId id) {
  using enum TensorKind;
  const auto layer = [&](const char* rest) {
    return fmt::format("model.layers.{}.{}", id.layer, rest);
  };
  switch (id.kind) {
    case token_embedding:
      return "model.embed_tokens.weight";
    case output_norm:
      return "model.norm.weight";
    case output:
      return "lm_head.weight";
    case rope_freqs:
      return "rope_freqs";  // no such file has one
    case attention_norm:
      return layer("input_layernorm.weight");
    case q:
      return layer("self_attn.q_proj.weight");
    case k:
      return layer("self_attn.k_proj.weight");
    case v:
      return layer("self_attn.v_proj.weight");
    case q_bias:
      return layer("self_attn.q_proj.bias");
    case k_bias:
      return layer("self_attn.k_proj.bias");
    case v_bias:
      return layer("self_attn.v_proj.bias");
    case q_norm:
      return layer("self_attn.q_norm.weight");
    case k_norm:
      return layer("self_attn.k_norm.weight");
    case o:
      return layer("self_attn.o_proj.weight");
    case o_bias:
      return layer("self_attn.o_proj.bias");
    case ffn_norm:
      return layer("post_attention_layernorm.weight");
    case gate:
      return layer("mlp.gate_proj.weight");
    case up:
      return layer("mlp.up_proj.weight");
    case down:
      return layer("mlp.down_proj.weight");
    case gate_bias:
      return layer("mlp.gate_proj.bias");
    case up_bias:
      return layer("mlp.up_proj.bias");
    case down_bias:
      return layer("mlp.down_proj.bias");
  }
  return "?";
}

/// All weight files of a directory and what is in them.
struct Checkpoint {
  std::vector<std::shared_ptr<const MappedFile>> files;
  SafeTensors tensors;
};

Result<Checkpoint> open_checkpoint(const std::string& directory) {
  std::set<std::string> names{"model.safetensors"};
  const std::string index_path = directory + "/model.safetensors.index.json";
  const auto index = read_optional_text(index_path, kJsonFileBytesMax);
  if (!index) return std::unexpected(index.error());
  if (!index->empty()) {
    auto found = parse_safetensors_index(*index, index_path);
    if (!found) return std::unexpected(found.error());
    names = std::move(*found);
  }
  Checkpoint all;
  for (const std::string& name : names) {
    const std::string path = directory + "/" + name;
    auto file = MappedFile::open(path, kModelFileBytesMax);
    if (!file) return std::unexpected(file.error());
    auto tensors = parse_safetensors((*file)->bytes(), path);
    if (!tensors) return std::unexpected(tensors.error());
    for (auto& [tensor, view] : *tensors)
      if (!all.tensors.try_emplace(tensor, view).second)
        return fail(ErrorCode::data_loss,
                    fmt::format("{}: tensor {} is in another shard too; fetch the files again.",
                                path, in_quotes(tensor)));
    all.files.push_back(std::move(*file));
  }
  return all;
}

/// chat_template.jinja, else the field of tokenizer_config.json: a text, or a list of named ones of
/// which we take "default".
Result<std::string> read_chat_template(const std::string& directory) {
  auto jinja = read_optional_text(directory + "/chat_template.jinja",
                                  static_cast<int64_t>(kTemplateBytesMax));
  if (!jinja || !jinja->empty()) return jinja;
  const std::string path = directory + "/tokenizer_config.json";
  const auto config = read_optional_text(path, kJsonFileBytesMax);
  if (!config || config->empty()) return config;
  const auto document = JsonDocument::parse(*config, path);
  if (!document) return std::unexpected(document.error());
  if (const auto named = json_get<simdjson::dom::array>(document->root(), "chat_template")) {
    for (const JsonElement each : *named)
      if (json_text(each, "name") == "default") return std::string(json_text(each, "template"));
    return std::string();
  }
  return std::string(json_text(document->root(), "chat_template"));
}

}  // namespace

Result<TokenizerSpec> open_hf_tokenizer(const std::string& directory) {
  const std::string path = directory + "/tokenizer.json";
  const auto json = read_text(path, kJsonFileBytesMax);
  if (!json) return std::unexpected(json.error());
  const auto config = read_optional_text(directory + "/tokenizer_config.json", kJsonFileBytesMax);
  if (!config) return std::unexpected(config.error());
  auto spec = parse_tokenizer_json(*json, *config, path);
  if (!spec) return spec;
  const std::string generation_path = directory + "/generation_config.json";
  const auto generation = read_optional_text(generation_path, kJsonFileBytesMax);
  if (!generation) return std::unexpected(generation.error());
  if (generation->empty()) return spec;
  const auto ends = parse_generation_eos(*generation, generation_path);
  if (!ends) return std::unexpected(ends.error());
  fill_end_of_generation(*spec, *ends);
  return spec;
}

Result<OpenedModel> open_hf_model(const std::string& directory, const WeightsIdMemory& memory) {
  const std::string config_path = directory + "/config.json";
  const auto config_json = read_text(config_path, kJsonFileBytesMax);
  if (!config_json) return std::unexpected(config_json.error());
  auto config = parse_hf_config(*config_json, config_path);
  if (!config) return std::unexpected(config.error());
  auto tokenizer = open_hf_tokenizer(directory);
  if (!tokenizer) return std::unexpected(tokenizer.error());
  std::vector<int64_t> ends = config->eos;
  for (TokenId id : tokenizer->end_of_generation) ends.push_back(id.value);
  fill_end_of_generation(*tokenizer, ends);

  auto checkpoint = open_checkpoint(directory);
  if (!checkpoint) return std::unexpected(checkpoint.error());
  const auto find = [&](TensorId id) -> std::optional<FileTensor> {
    const auto found = checkpoint->tensors.find(hf_tensor_name(id));
    if (found == checkpoint->tensors.end()) return std::nullopt;
    const SafeTensor& t = found->second;
    return FileTensor{t.dtype, t.rows, t.cols, t.bytes};
  };
  OpenedModel model;
  for (const auto& file : checkpoint->files)
    model.file_bytes += static_cast<int64_t>(file->bytes().size());
  auto weights =
      make_tensor_table(config->spec, checkpoint->files, find, hf_tensor_name, directory, memory);
  if (!weights) return std::unexpected(weights.error());
  auto chat_template = read_chat_template(directory);
  if (!chat_template) return std::unexpected(chat_template.error());
  model.bundle.spec = std::move(config->spec);
  model.bundle.tokenizer = std::move(*tokenizer);
  model.bundle.chat_template = std::move(*chat_template);
  model.weights = std::move(*weights);
  return model;
}

}  // namespace troupe
