// Safetensors container (PyPI `safetensors`): a length, a JSON table, the bytes. Parses from a byte
// span. Hostile input gives data_loss with a sentence, never a crash or a huge allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "config/result.h"
#include "model/dtype.h"

namespace troupe {

struct SafeTensor {
  DType dtype = DType::f32;          ///< f32, f16 or bf16
  int64_t rows = 0, cols = 0;        ///< cols is the last dimension; a vector is one row
  std::span<const std::byte> bytes;  ///< views the file; not aligned
};

using SafeTensors = std::map<std::string, SafeTensor, std::less<>>;

/// Tensors of another dtype are an error: a model we can compute has none. `name` stands in
/// messages.
Result<SafeTensors> parse_safetensors(std::span<const std::byte> file_bytes,
                                      const std::string& name);

}  // namespace troupe
