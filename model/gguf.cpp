#include "model/gguf.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "config/limits.h"
#include "model/byte_cursor.h"
#include "model/gguf_metadata.h"
#include "model/in_quotes.h"

namespace troupe {

namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr size_t kNameBytesMax =
    1024;  // of a key or tensor; the specification allows keys of 65,535
constexpr uint32_t kDimensionsMax = 4;  // GGML_MAX_DIMS
constexpr uint64_t kAlignmentDefault = 32, kAlignmentMax = 1 << 20;

/// One parse: keeps the file's name for its messages.
class Parser {
 public:
  Parser(std::span<const std::byte> bytes, std::string_view name)
      : bytes_(bytes), cursor_(bytes), name_(name) {}

  Result<GgufFile> parse() {
    if (auto ok = header(); !ok) return std::unexpected(ok.error());
    for (uint64_t i = 0; i < entries_; ++i)
      if (auto ok = entry(i); !ok) return std::unexpected(ok.error());
    for (uint64_t i = 0; i < tensors_; ++i)
      if (auto ok = tensor(i); !ok) return std::unexpected(ok.error());
    if (auto ok = place_tensors(); !ok) return std::unexpected(ok.error());
    return std::move(file_);
  }

 private:
  std::unexpected<Error> broken(ErrorCode code, const std::string& what) const {
    const char* hint = code == ErrorCode::data_loss ? "; the file is damaged, fetch it again" : "";
    return fail(code, name_ + ": " + what + hint + ".");
  }
  std::unexpected<Error> broken(const std::string& what) const {
    return broken(ErrorCode::data_loss, what);
  }

  Result<void> header() {
    const auto magic = cursor_.take<uint32_t>();
    if (!magic || *magic != kMagic)
      return broken(ErrorCode::unsupported,
                    "this is not a GGUF file (it does not start with GGUF)");
    const auto version = cursor_.take<uint32_t>();
    if (!version) return broken("the file ends inside the header");
    if (*version == std::byteswap(2u) || *version == std::byteswap(3u))
      return broken(ErrorCode::unsupported,
                    "this is a big-endian GGUF file; convert it again for little-endian");
    if (*version != 2 && *version != 3)
      return broken(ErrorCode::unsupported,
                    "GGUF version " + std::to_string(*version) + " is not supported, only 2 and 3");
    const auto tensors = cursor_.take<uint64_t>();
    const auto entries = cursor_.take<uint64_t>();
    if (!tensors || !entries) return broken("the file ends inside the header");
    if (*tensors > kTensorsMax)
      return broken(ErrorCode::too_large, "it claims " + std::to_string(*tensors) +
                                              " tensors, the limit is " +
                                              std::to_string(kTensorsMax));
    if (*entries > kMetadataEntriesMax)
      return broken(ErrorCode::too_large, "it claims " + std::to_string(*entries) +
                                              " metadata entries, the limit is " +
                                              std::to_string(kMetadataEntriesMax));
    file_.version = *version;
    tensors_ = *tensors;
    entries_ = *entries;
    return {};
  }

  Result<void> entry(uint64_t index) {
    auto key = take_gguf_string(cursor_, kNameBytesMax);
    if (!key) return broken("metadata key " + std::to_string(index) + ": " + key.error().message);
    auto value = take_gguf_value(cursor_);
    if (!value)
      return broken(value.error().code,
                    "metadata " + in_quotes(*key) + ": " + value.error().message);
    const auto [at, added] = file_.metadata.try_emplace(std::move(*key), std::move(*value));
    if (!added) return broken("metadata " + in_quotes(at->first) + " stands there twice");
    return {};
  }

  Result<void> tensor(uint64_t index) {
    auto name = take_gguf_string(cursor_, kNameBytesMax);
    if (!name) return broken("tensor name " + std::to_string(index) + ": " + name.error().message);
    const auto dimensions = cursor_.take<uint32_t>();
    if (!dimensions) return broken("the file ends inside the tensor table");
    if (*dimensions < 1 || *dimensions > kDimensionsMax)
      return broken("tensor " + in_quotes(*name) + " has " + std::to_string(*dimensions) +
                    " dimensions");
    GgufTensor made;
    made.rows = made.cols = 1;
    for (uint32_t d = 0; d < *dimensions; ++d) {
      const auto size = cursor_.take<uint64_t>();
      if (!size) return broken("the file ends inside the tensor table");
      const bool fits = *size >= 1 && *size <= static_cast<uint64_t>(kModelFileBytesMax);
      int64_t& side = d == 0 ? made.cols : made.rows;
      if (!fits || __builtin_mul_overflow(side, static_cast<int64_t>(*size), &side))
        return broken("tensor " + in_quotes(*name) + " has an impossible shape");
    }
    const auto type = cursor_.take<uint32_t>();
    const auto offset = cursor_.take<uint64_t>();
    if (!type || !offset) return broken("the file ends inside the tensor table");
    const auto dtype = dtype_from_ggml(*type);
    if (!dtype)
      return broken(
          ErrorCode::unsupported,
          "tensor " + in_quotes(*name) + " has GGML type " + std::to_string(*type) +
              ", supported are F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K");
    const DTypeTraits& traits = traits_of(*dtype);
    if (made.cols % traits.block != 0)
      return broken("tensor " + in_quotes(*name) + " has rows of " + std::to_string(made.cols) +
                    " weights, " + std::string(traits.name) + " needs a multiple of " +
                    std::to_string(traits.block));
    int64_t bytes = 0;  // cols <= 2^40 and a weight has at most 4 bytes: row_bytes can't overflow
    if (__builtin_mul_overflow(row_bytes(traits, made.cols), made.rows, &bytes))
      return broken("tensor " + in_quotes(*name) + " has an impossible shape");
    made.name = *name;
    made.dtype = *dtype;
    made.offset = *offset;  // made absolute by place_tensors
    made.bytes = static_cast<uint64_t>(bytes);
    const auto [at, added] = file_.tensors.try_emplace(std::move(*name), std::move(made));
    if (!added) return broken("tensor " + in_quotes(at->first) + " stands there twice");
    return {};
  }

  /// Offsets are relative to the data section, which starts at the next aligned position.
  Result<void> place_tensors() {
    uint64_t alignment = kAlignmentDefault;
    if (file_.metadata.contains("general.alignment")) {
      const auto given = file_.integer("general.alignment");
      if (!given || *given < 1 || static_cast<uint64_t>(*given) > kAlignmentMax ||
          !std::has_single_bit(static_cast<uint64_t>(*given)))
        return broken("general.alignment is not a power of two up to 1 MiB");
      alignment = static_cast<uint64_t>(*given);
    }
    const uint64_t data = (cursor_.position() + alignment - 1) / alignment * alignment;
    std::vector<const GgufTensor*> by_offset;
    for (auto& [name, tensor] : file_.tensors) {
      if (tensor.offset % alignment != 0)
        return broken("tensor " + in_quotes(name) + " is not aligned to " +
                      std::to_string(alignment));
      if (data > bytes_.size() || tensor.offset > bytes_.size() - data ||
          tensor.bytes > bytes_.size() - data - tensor.offset)
        return broken("tensor " + in_quotes(name) + " reaches beyond the end of the file");
      tensor.offset += data;
      by_offset.push_back(&tensor);
    }
    std::ranges::sort(by_offset, {}, &GgufTensor::offset);
    for (size_t i = 1; i < by_offset.size(); ++i)
      if (by_offset[i - 1]->offset + by_offset[i - 1]->bytes > by_offset[i]->offset)
        return broken("tensors " + in_quotes(by_offset[i - 1]->name) + " and " +
                      in_quotes(by_offset[i]->name) + " overlap");
    return {};
  }

  std::span<const std::byte> bytes_;
  ByteCursor cursor_;
  std::string name_;
  GgufFile file_;
  uint64_t tensors_ = 0, entries_ = 0;
};

template <class T>
const T* get_if(const GgufFile& file, std::string_view key) {
  const auto found = file.metadata.find(key);
  return found == file.metadata.end() ? nullptr : std::get_if<T>(&found->second);
}

}  // namespace

std::optional<int64_t> GgufFile::integer(std::string_view key) const {
  if (const auto* value = get_if<int64_t>(*this, key)) return *value;
  if (const auto* value = get_if<uint64_t>(*this, key))
    if (*value <= static_cast<uint64_t>(INT64_MAX)) return static_cast<int64_t>(*value);
  return std::nullopt;
}

std::optional<double> GgufFile::number(std::string_view key) const {
  if (const auto* value = get_if<double>(*this, key)) return *value;
  if (const auto value = integer(key)) return static_cast<double>(*value);
  return std::nullopt;
}

std::optional<bool> GgufFile::boolean(std::string_view key) const {
  const auto* value = get_if<bool>(*this, key);
  return value ? std::optional(*value) : std::nullopt;
}

const std::string* GgufFile::text(std::string_view key) const {
  return get_if<std::string>(*this, key);
}

const std::vector<std::string>* GgufFile::texts(std::string_view key) const {
  return get_if<std::vector<std::string>>(*this, key);
}

const std::vector<double>* GgufFile::numbers(std::string_view key) const {
  return get_if<std::vector<double>>(*this, key);
}

const std::vector<int64_t>* GgufFile::integers(std::string_view key) const {
  return get_if<std::vector<int64_t>>(*this, key);
}

Result<GgufFile> parse_gguf(std::span<const std::byte> file_bytes, std::string_view name) {
  return Parser(file_bytes, name).parse();
}

}  // namespace troupe
