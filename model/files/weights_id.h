// The identity of a model's weights: what a transfer is checked against and what `numerics_id`
// hangs on.
#pragma once

#include <cstddef>
#include <span>

#include "config/ids.h"

namespace troupe {

inline constexpr size_t kDigestChunkBytes = 4 << 20;

/// sha256 over the digests of 4 MiB chunks of each part, in order; a part's last chunk may be
/// shorter. Parts are the weight files, whole. Uses up to 8 threads for the chunks; about 1 s a GB
/// and core.
Digest weights_id_of(std::span<const std::span<const std::byte>> parts);

}  // namespace troupe
