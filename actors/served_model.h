// What a router serves of a model, made of the bundle that a group sent. Pure; no actor.
#pragma once

#include <cstddef>
#include <span>

#include "cluster/messages.h"
#include "config/result.h"
#include "net/bridge.h"

namespace troupe {

/// All but `created`. Refused with what is wrong with the bundle.
Result<ServedModel> serve_bundle(const GroupEndpoint& endpoint, const Digest& bundle_id,
                                 std::span<const std::byte> bundle);

}  // namespace troupe
