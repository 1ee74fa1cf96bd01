// Writes GGUF files for tests, well-formed or not: every number is the caller's.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace troupe::test {

class GgufBuilder {
 public:
  GgufBuilder(uint64_t tensors, uint64_t entries, uint32_t version = 3) {
    bytes_ = "GGUF";
    raw(version).raw(tensors).raw(entries);
  }
  template <class T>
  GgufBuilder& raw(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  GgufBuilder& text(std::string_view value) {
    raw<uint64_t>(value.size());
    bytes_ += value;
    return *this;
  }
  /// Key and type number; the value follows with raw() or text().
  GgufBuilder& key(std::string_view name, uint32_t type) { return text(name).raw(type); }
  GgufBuilder& array(std::string_view name, uint32_t element_type, uint64_t count) {
    return key(name, 9).raw(element_type).raw(count);
  }
  GgufBuilder& tensor(std::string_view name, std::initializer_list<uint64_t> sizes, uint32_t type,
                      uint64_t offset) {
    text(name).raw(static_cast<uint32_t>(sizes.size()));
    for (uint64_t size : sizes) raw(size);
    return raw(type).raw(offset);
  }
  /// Pads to 32 bytes, then `count` zero bytes.
  GgufBuilder& data(size_t count) {
    bytes_.resize((bytes_.size() + 31) / 32 * 32 + count, '\0');
    return *this;
  }
  std::span<const std::byte> bytes() const { return std::as_bytes(std::span(bytes_)); }

 private:
  std::string bytes_;
};

}  // namespace troupe::test
