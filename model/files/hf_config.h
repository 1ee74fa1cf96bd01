// config.json of a Hugging Face model as a ModelSpec.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"
#include "model/model_spec.h"

namespace troupe {

struct HfConfig {
  ModelSpec spec;
  std::vector<int64_t> eos;  ///< eos_token_id: a number or a list
};

/// Model types llama, mistral, qwen2 and qwen3, in the form of older and newer `transformers`
/// (rope_scaling and rope_theta, or rope_parameters). Absent fields have that library's defaults.
/// `name` stands in messages.
Result<HfConfig> parse_hf_config(std::string_view json, const std::string& name);

/// The list in a generation_config.json (eos_token_id); empty if it has none.
Result<std::vector<int64_t>> parse_generation_eos(std::string_view json, const std::string& name);

}  // namespace troupe
