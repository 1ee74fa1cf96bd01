#include "net/shm_ring.h"

#include <algorithm>
#include <cstring>

namespace troupe {

void ShmRing::put(uint64_t staged, std::span<const std::byte> bytes) {
  const size_t at = staged % kShmRingBytes;
  const size_t first = std::min(bytes.size(), kShmRingBytes - at);
  if (first > 0) std::memcpy(data_ + at, bytes.data(), first);
  if (first < bytes.size()) std::memcpy(data_, bytes.data() + first, bytes.size() - first);
}

void ShmRing::copy(uint64_t taken, std::span<std::byte> into) const {
  const size_t at = taken % kShmRingBytes;
  const size_t first = std::min(into.size(), kShmRingBytes - at);
  if (first > 0) std::memcpy(into.data(), data_ + at, first);
  if (first < into.size()) std::memcpy(into.data() + first, data_, into.size() - first);
}

}  // namespace troupe
