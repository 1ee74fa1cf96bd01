#include "cluster/bundle_source.h"

#include <algorithm>
#include <utility>

#include "config/digest.h"
#include "config/limits.h"

namespace troupe {

BundleSource::BundleSource(GroupId group, std::vector<std::byte> bundle)
    : group_(group), bundle_(std::move(bundle)), digest_(sha256(bundle_)) {}

BundleChunk BundleSource::chunk(uint64_t offset) const {
  const size_t at = std::min<uint64_t>(offset, bundle_.size());
  const size_t size = std::min<size_t>(bundle_.size() - at, kWireChunkBytesMax);
  const auto begin = bundle_.begin() + static_cast<ptrdiff_t>(at);
  return BundleChunk{.group = group_,
                     .digest = digest_,
                     .offset = at,
                     .total = bundle_.size(),
                     .bytes = {begin, begin + static_cast<ptrdiff_t>(size)}};
}

bool is_last(const BundleChunk& chunk) { return chunk.offset + chunk.bytes.size() == chunk.total; }

}  // namespace troupe
