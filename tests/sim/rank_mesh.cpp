#include "tests/sim/rank_mesh.h"

#include <algorithm>

#include "tests/sim/hosts.h"

namespace troupe::sim {

HostPort RankMesh::listen(std::shared_ptr<ShardHost> rank) {
  const auto port = static_cast<uint16_t>(places_.size() + 1);
  const HostPort place{fmt::format("10.0.0.{}", rank->host + 1), port};
  places_.emplace(port, std::move(rank));
  return place;
}

std::shared_ptr<ShardHost> RankMesh::at(const HostPort& place) const {
  const auto found = places_.find(place.port);
  return found != places_.end() && found->second->address == place ? found->second : nullptr;
}

void RankMesh::check(const ShardHost& rank) {
  World& world = rank.world;
  const RankJoin& join = *rank.joined;
  world.expect(join.group == rank.spec.group && join.generation == rank.order->generation,
               "{} of generation {} is told to join generation {}", rank.name,
               rank.order->generation.value, join.generation.value);
  world.expect(join.addresses.size() == rank.order->hosts.size(), "{} is to join {} ranks of {}",
               rank.name, join.addresses.size(), rank.order->hosts.size());
  for (size_t i = 0; i < join.addresses.size(); ++i) {
    const auto other = at(join.addresses[i]);
    world.expect(other && other->spec.group == join.group &&
                     other->spec.rank == static_cast<int32_t>(i) &&
                     other->order->generation == join.generation,
                 "{} is sent to a place where rank {} of its generation never was", rank.name, i);
  }
  const Meeting meeting{join.group, join.generation, join.addresses};
  const auto [known, is_new] = meetings_.try_emplace(join.key, meeting);
  world.expect(is_new || known->second == meeting, "{} has the key of another meeting", rank.name);
}

std::vector<std::shared_ptr<ShardHost>> RankMesh::others(const ShardHost& rank) const {
  std::vector<std::shared_ptr<ShardHost>> all;
  for (const HostPort& place : rank.joined->addresses)
    if (auto other = at(place); other.get() != &rank) all.push_back(std::move(other));
  return all;
}

namespace {
bool runs(const ShardHost& rank) { return rank.alive && rank.world.now() >= rank.stopped_until; }
bool both_ways(const ShardHost& a, const ShardHost& b) {
  return a.world.passes(a.host, b.host) && a.world.passes(b.host, a.host);
}
}  // namespace

bool RankMesh::has_met(const ShardHost& rank) const {
  return std::ranges::all_of(others(rank), [&](const auto& other) {
    return other && runs(*other) && other->joined == rank.joined && both_ways(rank, *other);
  });
}

bool RankMesh::complete(const ShardHost& rank) const {
  const auto all = others(rank);
  for (const auto& other : all) {
    if (!runs(*other) || other->serving != rank.serving || !both_ways(rank, *other)) return false;
    for (const auto& third : all)
      if (!both_ways(*other, *third)) return false;
  }
  return true;
}

std::optional<size_t> RankMesh::broken(const ShardHost& rank) const {
  for (const auto& other : others(rank)) {
    if (other->alive || !rank.world.passes(other->host, rank.host)) continue;
    // A host that lost power says nothing until it is back.
    if (other->vanished && !rank.cluster.sites[static_cast<size_t>(other->host)].alive()) continue;
    return static_cast<size_t>(other->spec.rank);
  }
  return std::nullopt;
}

}  // namespace troupe::sim
