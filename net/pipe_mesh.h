// Byte pipes between this rank and each other one of its group, never blocking but in wait(). What
// RankExchange moves calls over; ShmMesh and TcpMesh are the two kinds. One thread, except abort().
#pragma once

#include <chrono>
#include <cstddef>
#include <span>

#include "config/result.h"
#include "config/time.h"

namespace troupe {

class PipeMesh {
 public:
  using Instant = std::chrono::steady_clock::time_point;

  virtual ~PipeMesh() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// All bytes of a gather up to which each rank had better send to every other one directly.
  virtual size_t direct_bytes_max() const = 0;

  /// Takes what fits of `bytes`: how many. The peer may see none of them before flush().
  virtual Result<size_t> write(int peer, std::span<const std::byte> bytes) = 0;
  /// True once all that was written has left this rank.
  virtual Result<bool> flush(int peer) = 0;
  /// Fills what has come: how many bytes. unavailable when the peer is gone.
  virtual Result<size_t> read(int peer, std::span<std::byte> into) = 0;

  struct Interest {
    std::span<const int> readable, writable;  ///< peers
  };
  /// Until one of them may go on (spurious returns are allowed): true; false when `until` passed.
  virtual Result<bool> wait(const Interest& interest, Instant until) = 0;
  /// An error once the generation was aborted or another rank gave up and said so.
  virtual Result<void> check() = 0;
  /// This rank gives up: tells the others as far as it can without waiting. `between` says of each
  /// peer whether the bytes written to it end with a whole frame.
  virtual void end(const Error& reason, std::span<const char> between) noexcept = 0;
  /// From any thread; wakes wait().
  virtual void abort() noexcept = 0;
};

}  // namespace troupe
