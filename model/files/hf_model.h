// A Hugging Face directory: config.json, model.safetensors (or shards with an index),
// tokenizer.json and the small files beside it.
#pragma once

#include <string>

#include "config/result.h"
#include "model/files/model_files.h"

namespace troupe {

/// The parts of OpenedModel that come from the directory; open_model() adds name and ids.
Result<OpenedModel> open_hf_model(const std::string& directory, const WeightsIdMemory& memory);

Result<TokenizerSpec> open_hf_tokenizer(const std::string& directory);

}  // namespace troupe
