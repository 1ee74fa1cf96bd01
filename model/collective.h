// Exchange among the ranks of one group. A group has two: a host collective (plans, tokens) and a
// device collective (tensors). shm and tcp implementations live in net/, nccl in model/cuda/;
// one-rank groups have none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "config/result.h"
#include "config/time.h"

namespace troupe {

/// Which call this is. Ranks whose tags differ have diverged: the call fails on all of them.
struct CallTag {
  uint32_t generation = 0;
  uint64_t step = 0;
  uint32_t seq = 0;     ///< call number within the step
  Duration deadline{};  ///< time this call may take
};

enum class ElementType : uint8_t { bytes, f32, f16, bf16 };

struct Buffer {
  std::span<std::byte> bytes;
  ElementType type = ElementType::bytes;
};

/// One thread calls at a time, except abort(). After any error the generation is dead: make a new
/// collective.
class Collective {
 public:
  virtual ~Collective() = default;
  /// Rank r gives counts[r] bytes; every rank gets all, in rank order.
  virtual Result<void> all_gather_v(std::span<const std::byte> mine, std::span<std::byte> all,
                                    std::span<const size_t> counts, CallTag tag) = 0;
  virtual Result<void> all_reduce(Buffer data, CallTag tag) = 0;  ///< sum, in place
  virtual Result<void> broadcast(Buffer data, int root, CallTag tag) = 0;
  virtual Result<void> send(Buffer data, int peer, CallTag tag) = 0;
  virtual Result<void> recv(Buffer data, int peer, CallTag tag) = 0;
  /// From any thread; calls of `generation` in flight return ErrorCode::aborted within 100 ms.
  virtual void abort(uint32_t generation) noexcept = 0;
};

}  // namespace troupe
