// Which numerics id stands for a model in cache keys. Pure.
#pragma once

#include <string_view>

#include "cluster/messages.h"

namespace troupe {

/// `current` as long as a ready group of the model has it, or none is ready; else that of the first
/// ready one. Groups may differ (another CPU): what those with another id compute is not kept.
Digest serving_numerics(const RoutingTable& table, std::string_view model, const Digest& current);

}  // namespace troupe
