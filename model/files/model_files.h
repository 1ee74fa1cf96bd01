// Opens a model from disk: a GGUF file or a Hugging Face directory.
#pragma once

#include <memory>
#include <string>

#include "config/result.h"
#include "model/files/weights_id_memory.h"
#include "model/model_bundle.h"
#include "model/weight_source.h"

namespace troupe {

struct OpenedModel {
  /// Its weights_id stays zero: ask `weights` where it is needed, that reads every byte.
  ModelBundle bundle;
  /// Owns the map of the file(s): drop it once the weights are loaded.
  std::shared_ptr<const WeightSource> weights;
  std::string name;  ///< stem of the file or directory
  int64_t file_bytes = 0;
};

/// Every offset, size, count and string is checked before use. not_found, data_loss or unsupported
/// with one sentence that names the file and what is wrong.
/// `memory` may know the weights id from an earlier start.
Result<OpenedModel> open_model(const std::string& path,
                               const WeightsIdMemory& memory = WeightsIdMemory(""));

/// Only the tokenizer, of a GGUF file (also one that holds just a vocabulary) or a Hugging Face
/// directory.
Result<TokenizerSpec> open_tokenizer(const std::string& path);

}  // namespace troupe
