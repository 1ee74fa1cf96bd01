#include "cluster/serving_weights.h"

#include <algorithm>
#include <map>

namespace troupe {

bool has_loaded(GroupState state) {
  return state == GroupState::ready || state == GroupState::suspect ||
         state == GroupState::draining;
}

Digest serving_weights(const RoutingTable& table, std::string_view model) {
  struct Count {
    int groups = 0;
    GroupId lowest;
  };
  std::map<Digest, Count> counts;
  for (const GroupEndpoint& group : table.groups) {
    if (group.model != model || !has_loaded(group.state)) continue;
    Count& count = counts.try_emplace(group.weights_id, Count{0, group.group}).first->second;
    ++count.groups;
    count.lowest = std::min(count.lowest, group.group);
  }
  const auto most = std::ranges::max_element(counts, [](const auto& a, const auto& b) {
    if (a.second.groups != b.second.groups) return a.second.groups < b.second.groups;
    return b.second.lowest < a.second.lowest;
  });
  return most == counts.end() ? Digest{} : most->first;
}

bool has_serving_weights(const RoutingTable& table, const GroupEndpoint& group) {
  const Digest serving = serving_weights(table, group.model);
  return serving == Digest{} || group.weights_id == serving;
}

}  // namespace troupe
