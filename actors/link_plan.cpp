#include "actors/link_plan.h"

#include <fmt/format.h>

#include <algorithm>

namespace troupe {

std::string head_process(const GroupPlacement& group) {
  return fmt::format("{}/shard/{}.{}.0", group.rank_nodes.front(), group.model, group.index);
}

Result<PeerPlan> plan_peers(const ClusterConfig& config, const std::string& node,
                            const StateDir& state) {
  auto placed = place_groups(config);
  if (!placed) return std::unexpected(placed.error());
  PeerPlan plan;
  for (size_t index = 0; index < config.nodes.size(); ++index) {
    const std::string& other = config.nodes[index].name;
    if (other == node) continue;
    PeerSpec& peer = plan.peers.emplace_back();
    peer.node = other;
    for (const GroupPlacement& group : *placed)
      if (group.rank_nodes.front() == other)
        peer.groups.push_back({group.group, group.model, state.door_to_group(group.group)});
    if (node < other) plan.doors[other] = state.door_to_node(index);
  }
  return plan;
}

Result<LinkWays> plan_link(const ClusterConfig& config, const std::string& node,
                           const StateDir& state) {
  auto placed = place_groups(config);
  if (!placed) return std::unexpected(placed.error());
  LinkWays ways;
  ways.files = link_files(config.certs, node);
  ways.targets.push_back({LinkService::basp, node, state.node_socket()});
  const BeatWays beats = plan_beats(config, node, state);
  ways.targets.push_back({LinkService::beat, node, beats.socket});
  for (const BeatDoor& door : beats.doors)
    ways.doors.push_back({door.path, LinkService::beat, node, door.node, door.node});
  const FilePlan files = plan_files(config, node, state);
  if (!files.files.empty()) ways.targets.push_back({LinkService::file, node, files.ways.socket});
  for (const FileDoor& door : files.ways.doors)
    ways.doors.push_back({door.path, LinkService::file, node, door.node, door.node});
  for (const NodeConfig& other : config.nodes) {
    if (other.name == node) continue;
    ways.peers.push_back({other.name, {other.host, other.control_port}});
    if (node < other.name)
      ways.doors.push_back({state.door_to_node(static_cast<size_t>(&other - config.nodes.data())),
                            LinkService::basp, node, other.name, other.name});
  }
  const bool routes =
      std::ranges::find(config.routers, node, &RouterListen::node) != config.routers.end();
  for (const GroupPlacement& group : *placed) {
    if (group.rank_nodes.front() == node)
      ways.targets.push_back(
          {LinkService::basp, head_process(group), state.group_socket(group.group)});
    else if (routes)
      ways.doors.push_back({state.door_to_group(group.group), LinkService::basp, node + "/router",
                            group.rank_nodes.front(), head_process(group)});
  }
  return ways;
}

FilePlan plan_files(const ClusterConfig& config, const std::string& node, const StateDir& state) {
  FilePlan plan;
  for (const ModelConfig& model : config.models)
    if (model.sha256 &&
        std::ranges::find(plan.files, *model.sha256, &StoredFile::digest) == plan.files.end())
      plan.files.push_back({*model.sha256, model.source});
  const size_t nodes = config.nodes.size();
  if (plan.files.empty() || nodes == 1) return plan;
  plan.ways.socket = state.file_socket();
  const auto own = static_cast<size_t>(std::ranges::find(config.nodes, node, &NodeConfig::name) -
                                       config.nodes.begin());
  for (size_t i = 1; i < nodes; ++i) {
    const size_t other = (own + i) % nodes;
    plan.ways.doors.push_back({config.nodes[other].name, state.file_door(other)});
  }
  return plan;
}

BeatWays plan_beats(const ClusterConfig& config, const std::string& node, const StateDir& state) {
  BeatWays ways;
  ways.socket = state.beat_socket();
  for (size_t i = 0; i < config.nodes.size(); ++i) {
    const std::string& other = config.nodes[i].name;
    if (node < other)
      ways.doors.push_back({other, state.beat_door(i)});
    else if (other < node)
      ways.callers.push_back(other);
  }
  return ways;
}

}  // namespace troupe
