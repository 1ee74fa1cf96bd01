// Bytes from one rank to another one of its host: a ring in shared memory with one writer and one
// reader. Zeroed memory is an empty ring. Counters that the other side wrote are checked before
// use.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "config/limits.h"

namespace troupe {

class ShmRing {
 public:
  // The writer's side.
  /// Bytes that fit now; nullopt when the counters make no sense.
  std::optional<size_t> room(uint64_t staged) const {
    const uint64_t taken = taken_.load();
    if (taken > staged || staged - taken > kShmRingBytes) return std::nullopt;
    return kShmRingBytes - static_cast<size_t>(staged - taken);
  }
  /// Copies to the place of byte number `staged`; they must fit.
  void put(uint64_t staged, std::span<const std::byte> bytes);
  /// Worth waking the writer for: with less it would be woken for every piece.
  bool has_room(uint64_t staged) const { return staged - taken_.load() <= kShmRingBytes / 2; }
  /// The reader may take all before byte number `staged`.
  void publish(uint64_t staged) { written_.store(staged); }

  // The reader's side.
  std::optional<size_t> available(uint64_t taken) const {
    const uint64_t written = written_.load();
    if (written < taken || written - taken > kShmRingBytes) return std::nullopt;
    return static_cast<size_t>(written - taken);
  }
  void copy(uint64_t taken, std::span<std::byte> into) const;
  /// The writer may overwrite all before byte number `taken`, which was `before`. True when that
  /// made has_room() true.
  bool release(uint64_t before, uint64_t taken) {
    taken_.store(taken);
    const uint64_t written = written_.load();
    return written - before > kShmRingBytes / 2 && written - taken <= kShmRingBytes / 2;
  }

 private:
  alignas(64) std::atomic<uint64_t> written_ = 0;  ///< bytes ever published
  alignas(64) std::atomic<uint64_t> taken_ = 0;    ///< bytes ever read
  alignas(64) std::byte data_[kShmRingBytes];
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);
static_assert((kShmRingBytes & (kShmRingBytes - 1)) == 0);

}  // namespace troupe
