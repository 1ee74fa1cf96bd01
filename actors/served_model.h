// What a router serves of a model, made of the bundle that a group sent. Pure; no actor.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "cluster/messages.h"
#include "config/result.h"
#include "model/model_bundle.h"
#include "net/bridge.h"

namespace troupe {

/// All but `created`. Refused with what is wrong with the bundle.
Result<ServedModel> serve_bundle(const GroupEndpoint& endpoint, const Digest& bundle_id,
                                 std::span<const std::byte> bundle);

/// Whether serve_bundle() would take what was read from the file or folder `source`: for who loads
/// it, because a router that refuses a bundle can only ask for it again. Builds the tokenizer, so
/// it costs what a router's start does. The error names `source`.
Result<void> check_servable(const ModelBundle& bundle, const std::string& source);

}  // namespace troupe
