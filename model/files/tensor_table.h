// The WeightSource of both file formats: a table from TensorId to bytes in mapped files, complete
// and with checked shapes, so that a backend meets no surprise after it was made.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "config/result.h"
#include "model/files/mapped_file.h"
#include "model/files/weights_id_memory.h"
#include "model/model_spec.h"
#include "model/weight_source.h"

namespace troupe {

/// A tensor as a file has it. `bytes` is exactly rows x cols in `dtype`.
struct FileTensor {
  DType dtype = DType::f32;
  int64_t rows = 0, cols = 0;
  std::span<const std::byte> bytes;
};

/// nullopt if the file has no such tensor.
using FindTensor = std::function<std::optional<FileTensor>(TensorId)>;
/// The file's own name for a tensor, for messages.
using NameTensor = std::function<std::string(TensorId)>;

/// Asks `find` for every tensor that `spec` needs; data_loss if one is missing or has another
/// shape. Keeps `files` mapped. `name` (the path) stands in messages.
Result<std::shared_ptr<const WeightSource>> make_tensor_table(
    const ModelSpec& spec, std::vector<std::shared_ptr<const MappedFile>> files,
    const FindTensor& find, const NameTensor& name_tensor, const std::string& name,
    const WeightsIdMemory& memory = WeightsIdMemory(""));

}  // namespace troupe
