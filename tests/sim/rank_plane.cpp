#include "tests/sim/rank_plane.h"

#include <algorithm>

#include "tests/sim/hosts.h"

namespace troupe::sim {

bool RankPlane::complete() const {
  return present.size() == ranks &&
         std::ranges::all_of(present, [](const std::weak_ptr<ShardHost>& weak) {
           const auto rank = weak.lock();
           return rank && rank->alive && rank->world.now() >= rank->stopped_until;
         });
}

void RankPlanes::share(NodeHost& node, const node_out::Share& share) {
  World& world = node.world;
  world.expect(!planes_.contains(share.group), "{} shares memory for two generations of a group",
               node.name);
  if (world.chance(world.faults.spawn_failure)) {
    return world.post(node.shared_from_this(), Duration{}, [&node, share] {
      node.input(node_in::ShareFailed{
          share.group, share.generation, {ErrorCode::unavailable, "no memory is left", {}}});
    });
  }
  auto plane = std::make_shared<RankPlane>();
  plane->group = share.group;
  plane->generation = share.generation;
  plane->ranks = share.ranks.size();
  planes_[share.group] = plane;
  for (const node_out::Share::Rank& rank : share.ranks) {
    const auto child = node.children.find(rank.child);
    if (child == node.children.end() || child->second.process->incarnation != rank.incarnation)
      continue;
    // By the lifeline: it may overtake the order to load, or come after it.
    const auto shard = std::static_pointer_cast<ShardHost>(child->second.process);
    world.post(shard, world.between(10us, 5ms), [shard, plane] { shard->offered(plane); });
  }
}

void RankPlanes::unshare(NodeHost& node, const node_out::Unshare& over) {
  const auto at = planes_.find(over.group);
  if (at == planes_.end()) return;  // it could not be made
  const std::shared_ptr<RankPlane> plane = at->second;
  node.world.expect(plane->generation == over.generation, "{} ends memory of another generation",
                    node.name);
  planes_.erase(at);
  plane->over = true;
  for (const std::weak_ptr<ShardHost>& weak : plane->present)
    if (const auto rank = weak.lock())
      node.world.post(rank, node.world.between(10us, 1ms),
                      [rank, plane] { rank->dismissed(plane); });
}

}  // namespace troupe::sim
