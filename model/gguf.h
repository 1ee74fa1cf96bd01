// GGUF container, versions 2 and 3 (specification: ggml docs/gguf.md). Parses from a byte span;
// owns nothing but what it parsed. Hostile input gives data_loss with a sentence, never a crash or
// a huge allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/result.h"
#include "model/dtype.h"

namespace troupe {

/// Metadata value. Integers of all widths are widened; arrays keep one element type.
using GgufValue = std::variant<int64_t, uint64_t, double, bool, std::string, std::vector<int64_t>,
                               std::vector<double>, std::vector<bool>, std::vector<std::string>>;

struct GgufTensor {
  std::string name;
  DType dtype = DType::f32;
  int64_t rows = 0, cols = 0;  ///< cols is GGUF's first (contiguous) dimension
  uint64_t offset = 0;         ///< from the start of the file
  uint64_t bytes = 0;
};

struct GgufFile {
  uint32_t version = 0;
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::map<std::string, GgufTensor, std::less<>> tensors;

  /// Typed look-ups: nullopt if absent or of another type. integer() takes either signedness if it
  /// fits.
  std::optional<int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  const std::string* text(std::string_view key) const;
  const std::vector<std::string>* texts(std::string_view key) const;
  const std::vector<double>* numbers(std::string_view key) const;
  const std::vector<int64_t>* integers(std::string_view key) const;
};

/// `file_bytes`: the whole file (tensor extents are checked against it). `name` is used in
/// messages.
Result<GgufFile> parse_gguf(std::span<const std::byte> file_bytes, std::string_view name);

}  // namespace troupe
