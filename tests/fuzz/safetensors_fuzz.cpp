// Any bytes as a safetensors file: parsed, the last row of each accepted tensor dequantised.
#include <span>
#include <vector>

#include "config/check.h"
#include "model/files/safetensors.h"

using namespace troupe;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto tensors = parse_safetensors(std::as_bytes(std::span(data, size)), "fuzz.safetensors");
  if (!tensors) {
    TROUPE_CHECK(tensors.error().message.starts_with("fuzz.safetensors: "),
                 tensors.error().message);
    return 0;
  }
  for (const auto& [name, tensor] : *tensors) {
    const auto row = static_cast<size_t>(row_bytes(traits_of(tensor.dtype), tensor.cols));
    TROUPE_CHECK(tensor.bytes.size() == row * static_cast<size_t>(tensor.rows), name);
    std::vector<float> values(static_cast<size_t>(tensor.cols));
    dequantise(tensor.dtype, tensor.bytes.last(row), values);
  }
  return 0;
}
