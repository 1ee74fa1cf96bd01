// What stands before the bytes of a call between two ranks. The receiver knows what it awaits and
// compares: whatever differs is a divergence, told with who does what. Little-endian, as it lies in
// memory.
#pragma once

#include <cstdint>
#include <string>

#include "config/result.h"

namespace troupe {

/// `fault` carries the reason of a rank that gave up; `detail` is its ErrorCode.
enum class CallKind : uint16_t { all_gather_v = 1, all_reduce, broadcast, send, fault };

inline constexpr uint32_t kFrameMagic = 0x31434354;  // "TCC1"

struct FrameHeader {
  uint32_t magic = kFrameMagic;
  uint32_t generation = 0;
  uint64_t step = 0;
  uint32_t seq = 0;
  CallKind kind = CallKind::send;
  uint16_t detail = 0;  ///< broadcast: the root; all_reduce: the ElementType
  uint64_t bytes = 0;   ///< that follow
  bool operator==(const FrameHeader&) const = default;
};
static_assert(sizeof(FrameHeader) == 32);

/// "all_gather_v of 1024 bytes, step 7, call 2"
std::string describe(const FrameHeader& header);

/// `got` came from rank `from` where rank `own` awaited `expected`; says who does what.
Error divergence(const FrameHeader& got, int from, const FrameHeader& expected, int own);

/// The reason in a fault frame: what a peer sent is bounded and made printable.
Error fault_from(uint16_t code, std::string text);

}  // namespace troupe
