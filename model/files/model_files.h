// Opens a model from disk: a GGUF file or a Hugging Face directory.
#pragma once

#include <memory>
#include <string>

#include "config/result.h"
#include "model/model_bundle.h"
#include "model/weight_source.h"

namespace troupe {

struct OpenedModel {
  ModelBundle bundle;  ///< manifest.weights_id is zero until asked of `weights`
  std::shared_ptr<const WeightSource> weights;
  std::string name;  ///< stem of the file or directory
  int64_t file_bytes = 0;
};

/// Every offset, size, count and string is checked before use. not_found, data_loss or unsupported
/// with one sentence that names the file and what is wrong.
Result<OpenedModel> open_model(const std::string& path);

}  // namespace troupe
