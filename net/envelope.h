// The 48-byte header before every message between processes: {magic 4, wire version 2, kind 2,
// incarnation 8, trace id 16, span id 8, length 4, zero 4}, little-endian, then `length` bytes of
// protobuf.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cluster/messages.h"
#include "config/result.h"

namespace troupe {

inline constexpr uint32_t kWireMagic = 0x31505254;  // "TRP1"
inline constexpr uint16_t kWireVersion = 1;
inline constexpr size_t kEnvelopeBytes = 48;

struct Envelope {
  Incarnation sender;
  TraceContext trace;
  Message message;
  bool operator==(const Envelope&) const = default;
};

/// Always succeeds; the caller keeps messages under kWireMessageBytesMax (bundles are chunked,
/// batches bounded).
std::vector<uint8_t> encode(const Envelope& envelope);

/// Bad bytes give data_loss with what was wrong; an unknown kind gives unsupported. Never trusts a
/// length.
Result<Envelope> decode(std::span<const uint8_t> bytes);

}  // namespace troupe
