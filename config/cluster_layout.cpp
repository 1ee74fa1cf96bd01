// What needs the whole config: checks across its parts, and placement version 0.
#include <fmt/format.h>

#include <algorithm>

#include "config/cluster_config.h"

namespace troupe {

const NodeConfig* ClusterConfig::node(std::string_view name) const {
  auto found =
      std::find_if(nodes.begin(), nodes.end(), [&](const NodeConfig& n) { return n.name == name; });
  return found == nodes.end() ? nullptr : &*found;
}

Result<void> check_cluster_config(const ClusterConfig& config) {
  auto refuse = [](std::string key, std::string expected) -> Result<void> {
    return fail(ErrorCode::invalid_argument, std::move(expected), std::move(key));
  };
  if (config.cluster.empty()) return refuse("cluster", "expected the cluster's name");
  if (config.nodes.empty()) return refuse("nodes", "expected at least one node");
  if (config.models.empty()) return refuse("models", "expected at least one model");
  if (config.routers.empty())
    return refuse("routers", "expected at least one router, as [{node: n1, http: 127.0.0.1:8080}]");
  for (size_t i = 0; i < config.routers.size(); ++i) {
    const RouterListen& router = config.routers[i];
    if (!config.node(router.node))
      return refuse(fmt::format("routers[{}].node", i),
                    fmt::format("node {} is not in nodes; expected one of them", router.node));
    if (!is_loopback(router.http.host) && !router.insecure_http && config.api_keys_file.empty())
      return refuse(
          fmt::format("routers[{}].http", i),
          fmt::format("expected API keys (security.api_keys_file), because {} is not a loopback "
                      "address",
                      to_string(router.http)));
  }
  for (size_t i = 0; i < config.nodes.size(); ++i)
    if (config.nodes.size() > 1 && config.nodes[i].control_port == 0)
      return refuse(fmt::format("nodes[{}].control_port", i),
                    fmt::format("expected the port of the link on node {}, because there are "
                                "several nodes",
                                config.nodes[i].name));
  if (auto placed = place_groups(config); !placed) return std::unexpected(placed.error());
  return {};
}

Result<std::vector<GroupPlacement>> place_groups(const ClusterConfig& config) {
  std::vector<GroupPlacement> out;
  std::vector<int32_t> free;
  int64_t slots = 0, needed = 0;
  for (const NodeConfig& node : config.nodes) {
    free.push_back(node.cpu_slots);
    slots += node.cpu_slots;
  }
  for (const ModelConfig& model : config.models)
    needed += int64_t{model.groups} * model.tensor_parallel * model.pipeline_parallel;
  if (needed > slots)
    return fail(ErrorCode::invalid_argument,
                fmt::format("the models need {} device slots (groups x tensor_parallel x "
                            "pipeline_parallel), the nodes have {}; "
                            "expected more devices or fewer groups",
                            needed, slots),
                "models");
  uint32_t next = 0;
  size_t start = 0;
  for (const ModelConfig& model : config.models) {
    for (int32_t index = 0; index < model.groups; ++index) {
      GroupPlacement group{GroupId(next++), model.name, index, {}};
      int32_t ranks = model.tensor_parallel * model.pipeline_parallel;
      // The node with the most room first, ties in turn: a group stays together, groups spread.
      while (static_cast<int32_t>(group.rank_nodes.size()) < ranks) {
        size_t best = start % free.size();
        for (size_t i = 0; i < free.size(); ++i) {
          size_t candidate = (start + i) % free.size();
          if (free[candidate] > free[best]) best = candidate;
        }
        int32_t take =
            std::min<int32_t>(free[best], ranks - static_cast<int32_t>(group.rank_nodes.size()));
        free[best] -= take;
        group.rank_nodes.insert(group.rank_nodes.end(), static_cast<size_t>(take),
                                config.nodes[best].name);
        start = best + 1;
      }
      out.push_back(std::move(group));
    }
  }
  return out;
}

}  // namespace troupe
