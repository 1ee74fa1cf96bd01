// What needs the whole config: checks across its parts, and placement version 0.
#include <fmt/format.h>

#include <algorithm>

#include "config/cluster_config.h"

namespace troupe {

namespace {

/// Ports that one process of the config is going to listen on.
struct Claim {
  std::string machine;  ///< by the node's host: loopback nodes are all on the same one
  std::string host;     ///< where it listens there
  PortRange ports;
  std::string key;
};

std::vector<Claim> claims_of(const ClusterConfig& config) {
  std::vector<Claim> out;
  auto claim = [&out](const NodeConfig& node, std::string host, PortRange ports, std::string key) {
    if (ports.first == 0) return;  // takes a free one
    const std::string loopback = "127.0.0.1";
    out.push_back({is_loopback(node.host) ? loopback : node.host,
                   host == "localhost" ? loopback : std::move(host), ports, std::move(key)});
  };
  for (size_t i = 0; i < config.nodes.size(); ++i) {
    const NodeConfig& n = config.nodes[i];
    const std::string key = fmt::format("nodes[{}].", i);
    claim(n, n.host, {n.control_port, n.control_port}, key + "control_port");
    claim(n, n.host, n.data_ports, key + "data_ports");
    claim(n, "127.0.0.1", {n.admin_port, n.admin_port}, key + "admin_port");
  }
  for (size_t i = 0; i < config.routers.size(); ++i)
    if (const NodeConfig* node = config.node(config.routers[i].node)) {
      const HostPort& http = config.routers[i].http;
      claim(*node, http.host, {http.port, http.port}, fmt::format("routers[{}].http", i));
    }
  return out;
}

/// Whether a listener on `host` also takes what comes for `other`.
bool covers(const std::string& host, const std::string& other) {
  return host == other || host == "::" ||
         (host == "0.0.0.0" && other.find(':') == std::string::npos);
}

/// Refuses what the second of two processes would only find when it can't listen.
Result<void> check_addresses(const ClusterConfig& config) {
  const std::vector<Claim> claims = claims_of(config);
  for (size_t i = 0; i < claims.size(); ++i)
    for (size_t j = 0; j < i; ++j) {
      const Claim &taken = claims[j], &wanted = claims[i];
      const uint16_t shared = std::max(taken.ports.first, wanted.ports.first);
      if (taken.machine != wanted.machine || shared > taken.ports.last ||
          shared > wanted.ports.last ||
          (!covers(taken.host, wanted.host) && !covers(wanted.host, taken.host)))
        continue;
      return fail(ErrorCode::invalid_argument,
                  fmt::format("{} is taken by {}; expected another {}",
                              to_string(HostPort{wanted.host, shared}), taken.key,
                              wanted.ports.first == wanted.ports.last ? "port" : "range"),
                  wanted.key);
    }
  return {};
}

}  // namespace

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
  if (auto apart = check_addresses(config); !apart) return apart;
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
