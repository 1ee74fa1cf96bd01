// cluster/messages.h <-> protobuf; each kind has a fixed wire number. Fields are mapped in
// codec_parts, codec_serving, codec_control, codec_nodes and codec_journal; nothing else but
// child_start knows the protobuf types.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cluster/messages.h"
#include "config/result.h"

namespace troupe {

/// Appends the protobuf bytes to `out`; returns the wire number of the kind.
uint16_t encode_payload(const Message& message, std::vector<uint8_t>& out);

/// data_loss if the bytes don't parse or a field has an impossible size; unsupported for unknown
/// kinds.
Result<Message> decode_payload(uint16_t kind, std::span<const uint8_t> bytes);

}  // namespace troupe
