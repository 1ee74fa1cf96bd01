// Which weights a model is served with where its groups have different files. Pure.
#pragma once

#include <string_view>

#include "cluster/messages.h"

namespace troupe {

/// A group in that state runs a model.
bool has_loaded(GroupState state);

/// Those of most groups that have loaded the model, of as many those of the lowest group: every
/// router says the same. All zero while there is none. Others get no work: their tokenizer may be
/// another one.
Digest serving_weights(const RoutingTable& table, std::string_view model);

/// The group has what the model is served with, or nobody knows yet.
bool has_serving_weights(const RoutingTable& table, const GroupEndpoint& group);

}  // namespace troupe
