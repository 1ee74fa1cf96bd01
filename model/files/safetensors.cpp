#include "model/files/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "config/limits.h"
#include "model/byte_cursor.h"
#include "model/files/json.h"
#include "model/in_quotes.h"

namespace troupe {

namespace {

std::optional<DType> dtype_of(std::string_view name) {
  if (name == "F32") return DType::f32;
  if (name == "F16") return DType::f16;
  if (name == "BF16") return DType::bf16;
  return std::nullopt;
}

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  Result<SafeTensors> parse() {
    ByteCursor cursor(bytes_);
    const auto size = cursor.take<uint64_t>();
    if (!size || *size > cursor.left())
      return broken("its header reaches beyond the end of the file");
    const auto document = JsonDocument::parse(*cursor.take_text(*size), name_);
    if (!document) return std::unexpected(document.error());
    data_ = bytes_.subspan(cursor.position());
    simdjson::dom::object table;
    if (document->root().get(table) != simdjson::SUCCESS)
      return broken("its header is not a JSON object");
    if (table.size() > kTensorsMax)
      return fail(
          ErrorCode::too_large,
          fmt::format("{}: it has over {} tensors, which is the limit.", name_, kTensorsMax));
    for (const auto& [key, value] : table)
      if (key != "__metadata__")
        if (auto ok = tensor(key, value); !ok) return std::unexpected(ok.error());
    if (auto ok = check_layout(); !ok) return std::unexpected(ok.error());
    return std::move(tensors_);
  }

 private:
  std::unexpected<Error> broken(const std::string& what) const {
    return fail(ErrorCode::data_loss,
                fmt::format("{}: {}; the file is damaged, fetch it again.", name_, what));
  }

  Result<void> tensor(std::string_view key, JsonElement entry) {
    const auto dtype = dtype_of(json_text(entry, "dtype"));
    if (!dtype)
      return fail(ErrorCode::unsupported,
                  fmt::format("{}: tensor {} has dtype {}, supported are F32, F16 and BF16.", name_,
                              in_quotes(key), in_quotes(json_text(entry, "dtype"))));
    SafeTensor made{.dtype = *dtype, .rows = 1, .cols = 1};
    const auto shape = json_get<simdjson::dom::array>(entry, "shape");
    if (!shape) return broken(fmt::format("tensor {} has no shape", in_quotes(key)));
    for (const JsonElement side : *shape) {
      int64_t size = 0;  // after all but the last dimension went into rows, cols is the last
      if (side.get(size) != simdjson::SUCCESS || size < 1 || size > kModelFileBytesMax ||
          __builtin_mul_overflow(made.rows, made.cols, &made.rows))
        return broken(fmt::format("tensor {} has an impossible shape", in_quotes(key)));
      made.cols = size;
    }
    const auto offsets = json_get<simdjson::dom::array>(entry, "data_offsets");
    int64_t begin = 0, end = 0, bytes = 0;
    if (!offsets || offsets->size() != 2 || offsets->at(0).get(begin) != simdjson::SUCCESS ||
        offsets->at(1).get(end) != simdjson::SUCCESS || begin < 0 || end < begin)
      return broken(fmt::format("tensor {} has no valid data_offsets", in_quotes(key)));
    if (static_cast<uint64_t>(end) > data_.size())
      return broken(fmt::format("tensor {} reaches beyond the end of the file", in_quotes(key)));
    // cols <= 2^40 and a number has at most 4 bytes: row_bytes can't overflow
    if (__builtin_mul_overflow(row_bytes(traits_of(*dtype), made.cols), made.rows, &bytes) ||
        bytes != end - begin)
      return broken(
          fmt::format("tensor {} has another number of bytes than its shape says", in_quotes(key)));
    made.bytes = data_.subspan(static_cast<size_t>(begin), static_cast<size_t>(bytes));
    const auto [at, added] = tensors_.try_emplace(std::string(key), made);
    if (!added) return broken(fmt::format("tensor {} stands there twice", in_quotes(key)));
    return {};
  }

  /// The format allows neither overlaps nor bytes that belong to no tensor.
  Result<void> check_layout() const {
    std::vector<const SafeTensors::value_type*> in_order;
    for (const auto& tensor : tensors_) in_order.push_back(&tensor);
    std::ranges::sort(in_order, {}, [](const auto* t) { return t->second.bytes.data(); });
    const std::byte* next = data_.data();
    for (const auto* tensor : in_order) {
      const auto bytes = tensor->second.bytes;
      if (bytes.data() != next)
        return broken(fmt::format("tensor {} {}", in_quotes(tensor->first),
                                  bytes.data() < next ? "overlaps another" : "stands after a gap"));
      next = bytes.data() + bytes.size();
    }
    if (next != data_.data() + data_.size()) return broken("it has bytes that belong to no tensor");
    return {};
  }

  std::span<const std::byte> bytes_, data_;
  const std::string& name_;
  SafeTensors tensors_;
};

}  // namespace

Result<SafeTensors> parse_safetensors(std::span<const std::byte> file_bytes,
                                      const std::string& name) {
  return Parser(file_bytes, name).parse();
}

}  // namespace troupe
