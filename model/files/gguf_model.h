// A parsed GGUF file as a model of ours: hyper-parameters and the names of its tensors.
#pragma once

#include <string>

#include "config/result.h"
#include "model/gguf.h"
#include "model/model_spec.h"
#include "model/weight_source.h"

namespace troupe {

/// From the metadata and, for what metadata doesn't say (biases, q/k norms, tied embeddings,
/// vocabulary), from which tensors there are. unsupported for architectures and variants no backend
/// computes. `name` stands in messages.
Result<ModelSpec> spec_from_gguf(const GgufFile& file, const std::string& name);

/// "blk.3.attn_q.weight".
std::string gguf_tensor_name(TensorId id);

}  // namespace troupe
