#include "model/native/arena.h"

#include <sys/mman.h>

#include <cstdint>
#include <string>
#include <utility>

namespace troupe::native {

namespace {

constexpr size_t kHugePage = size_t{2} << 20, kPage = 4'096;

constexpr size_t round_up(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

/// What is mapped for a buffer of `size` bytes.
constexpr size_t mapped_size(size_t size) {
  return round_up(size, size >= kHugePage ? kHugePage : kPage);
}

}  // namespace

Result<HugeBuffer> HugeBuffer::make(size_t size) {
  HugeBuffer buffer;
  if (size == 0) return buffer;
  const auto refuse = [size] {
    return fail(ErrorCode::unavailable,
                "The system gave no " + std::to_string(size) +
                    " bytes of memory for weights or KV; end other programs or give less "
                    "KV memory.");
  };
  if (size > SIZE_MAX / 2) return refuse();
  const bool huge = size >= kHugePage;
  const size_t wanted = mapped_size(size), asked = huge ? wanted + kHugePage : wanted;
  void* at = ::mmap(nullptr, asked, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return refuse();
  auto* start = static_cast<std::byte*>(at);
  if (huge) {
    const auto address = reinterpret_cast<uintptr_t>(at);
    const size_t before = round_up(address, kHugePage) - address, after = asked - wanted - before;
    if (before > 0) ::munmap(start, before);
    if (after > 0) ::munmap(start + before + wanted, after);
    start += before;
    // A system that has none is slower, not wrong.
    ::madvise(start, wanted, MADV_HUGEPAGE);
  }
  buffer.bytes_ = std::span(start, size);
  return buffer;
}

HugeBuffer::~HugeBuffer() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), mapped_size(bytes_.size()));
}

HugeBuffer::HugeBuffer(HugeBuffer&& other) noexcept
    : bytes_(std::exchange(other.bytes_, std::span<std::byte>())) {}

HugeBuffer& HugeBuffer::operator=(HugeBuffer&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace troupe::native
