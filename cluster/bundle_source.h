// The encoded bundle of a group's model (tokenizer, template, spec), as routers fetch it: chunk by
// chunk, each asked for by its offset. Pure; owned by one Batcher.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cluster/messages.h"

namespace troupe {

class BundleSource {
 public:
  BundleSource(GroupId group, std::vector<std::byte> bundle);
  /// At most kWireChunkBytesMax bytes; none from beyond the end.
  BundleChunk chunk(uint64_t offset) const;

 private:
  GroupId group_;
  std::vector<std::byte> bundle_;
  Digest digest_;
};

/// With this chunk the router has the whole.
bool is_last(const BundleChunk& chunk);

}  // namespace troupe
