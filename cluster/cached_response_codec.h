// CachedResponse to bytes and back, for the caches. The bytes may come from a store that others can
// write to: every count and length is checked before use, and anything odd is an error, never a
// guess. Pure, any thread.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "cluster/router.h"
#include "config/result.h"

namespace troupe {

/// Length of encode()'s result.
size_t encoded_size(const CachedResponse& response);
std::vector<std::byte> encode(const CachedResponse& response);
/// data_loss: another version, cut, trailing bytes, impossible counts.
Result<CachedResponse> decode_cached_response(std::span<const std::byte> bytes);

}  // namespace troupe
