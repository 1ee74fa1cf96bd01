#include "cluster/serving_numerics.h"

namespace troupe {

Digest serving_numerics(const RoutingTable& table, std::string_view model, const Digest& current) {
  const GroupEndpoint* first = nullptr;
  for (const GroupEndpoint& group : table.groups) {
    if (group.model != model || group.state != GroupState::ready) continue;
    if (group.numerics_id == current) return current;
    if (!first) first = &group;
  }
  return first ? first->numerics_id : current;
}

}  // namespace troupe
