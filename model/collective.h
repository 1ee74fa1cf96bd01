// Exchange among the ranks of one group. A group has two: a host collective (plans, tokens) and a
// device collective (tensors); on CPUs both are of the host kind. shm and tcp implementations live
// in net/, nccl in model/cuda/; one-rank groups have none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "config/result.h"
#include "config/time.h"

namespace troupe {

/// Which call this is. Ranks whose tags differ have diverged: the call fails on all of them.
struct CallTag {
  uint32_t generation = 0;
  uint64_t step = 0;
  uint32_t seq = 0;     ///< call number within the step
  Duration deadline{};  ///< time this call may take: above 0, at most kCollectiveDeadlineMax
};

enum class ElementType : uint8_t { bytes, f32, f16, bf16 };

struct Buffer {
  std::span<std::byte> bytes;
  ElementType type = ElementType::bytes;
};

/// One thread calls at a time, except abort(). Ranks must agree on the order of calls, on kinds,
/// sizes, roots and tags; how long a call takes is bounded by its deadline. After any error the
/// generation is dead: later calls fail with the same error, and the other ranks fail in this call
/// or in their next one (a sender or root may have left before a receiver found the fault). Errors:
/// deadline_exceeded, aborted, unavailable (a peer is gone), invalid_argument (this rank's own
/// arguments), unsupported, internal (ranks diverged: says who does what), data_loss (bytes that no
/// rank of this build writes).
class Collective {
 public:
  virtual ~Collective() = default;
  virtual int rank() const = 0;  ///< of this process, 0..size()-1
  virtual int size() const = 0;
  /// Rank r gives counts[r] bytes, 0 included; every rank gets all, in rank order. `mine` may be
  /// its own place in `all`; else the two do not overlap.
  virtual Result<void> all_gather_v(std::span<const std::byte> mine, std::span<std::byte> all,
                                    std::span<const size_t> counts, CallTag tag) = 0;
  /// Sum, in place; f32 only. Added in rank order, so equal bits on every rank and in every run.
  virtual Result<void> all_reduce(Buffer data, CallTag tag) = 0;
  /// The root returns once its bytes have left, before all have them.
  virtual Result<void> broadcast(Buffer data, int root, CallTag tag) = 0;
  /// Messages of a pair arrive in order. Returns once the bytes have left; a large one waits for
  /// the receiver to take it, so two ranks that send to each other first may meet their deadline.
  virtual Result<void> send(Buffer data, int peer, CallTag tag) = 0;
  virtual Result<void> recv(Buffer data, int peer, CallTag tag) = 0;
  /// From any thread; calls of `generation` in flight return ErrorCode::aborted within 100 ms,
  /// later ones at once. An older generation than this collective's is ignored.
  virtual void abort(uint32_t generation) noexcept = 0;
  /// The same plane among some of its ranks (ascending, this one included; else null): member i is
  /// rank i there. For the tensor ranks of one pipeline stage. Shares the channels and the end with
  /// this one, so one thread calls at a time over both; may outlive this.
  virtual std::unique_ptr<Collective> among(std::span<const int> ranks) = 0;
};

}  // namespace troupe
