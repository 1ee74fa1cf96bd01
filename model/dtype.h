// Number formats of weights in files (GGML's block formats, from the GGUF specification and ggml's
// documented layouts), and their exact conversion to float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace troupe {

enum class DType : uint8_t { f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k, q6_k };

struct DTypeTraits {
  std::string_view name;  ///< "Q4_1"
  int32_t block;          ///< weights in a block (1, 32 or 256)
  int32_t bytes;          ///< of a block
};
const DTypeTraits& traits_of(DType dtype);

/// Number in a GGUF file -> our type; nullopt for formats we don't read.
std::optional<DType> dtype_from_ggml(uint32_t ggml_type);

/// Bytes of `cols` weights; cols must be a multiple of the block.
constexpr int64_t row_bytes(const DTypeTraits& t, int64_t cols) { return cols / t.block * t.bytes; }

float f16_to_f32(uint16_t half);
float bf16_to_f32(uint16_t value);
uint16_t f32_to_f16(float value);  ///< round to nearest even; overflow gives infinity

/// bytes.size() == row_bytes(out.size()). Exact where the format is exact in float32.
void dequantise(DType dtype, std::span<const std::byte> bytes, std::span<float> out);

}  // namespace troupe
