// Memory for weights and KV: aligned, zeroed, in huge pages where that pays (reading 4 KiB pages
// costs a third to a half of the bandwidth).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "config/result.h"

namespace troupe::native {

/// `floats` rounded up to whole cache lines, which are whole vectors too.
inline int64_t padded(int64_t floats) { return (floats + 15) / 16 * 16; }

/// Owns a block of zero bytes; empty when moved from. Aligned to 2 MiB from that size on, below to
/// 64 B at least. Pages are taken when first touched, so that threads can fill it side by side; a
/// size of 0 owns nothing. Not thread-safe as an object.
class HugeBuffer {
 public:
  HugeBuffer() = default;
  /// unavailable when the system has not so much memory to give.
  static Result<HugeBuffer> make(size_t size);
  ~HugeBuffer();
  HugeBuffer(HugeBuffer&& other) noexcept;
  HugeBuffer& operator=(HugeBuffer&& other) noexcept;

  std::byte* data() { return bytes_.data(); }
  const std::byte* data() const { return bytes_.data(); }
  size_t size() const { return bytes_.size(); }
  std::span<std::byte> bytes() { return bytes_; }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

}  // namespace troupe::native
