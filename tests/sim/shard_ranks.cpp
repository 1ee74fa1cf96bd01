// A shard process as one of several ranks: the memory of its host and the places of other hosts'
// ranks come before it loads, and every other rank has to be there when it steps.
#include <algorithm>
#include <utility>

#include "tests/sim/hosts.h"
#include "tests/sim/rank_plane.h"

namespace troupe::sim {

namespace {
/// Ranks on the host of this one, itself among them.
int64_t ranks_here(const LoadOrder& order) {
  if (order.hosts.empty()) return order.tensor_parallel * order.pipeline_parallel;
  return std::ranges::count(order.hosts, order.hosts[static_cast<size_t>(order.rank)]);
}
}  // namespace

// -- until it loads

void ShardHost::prepare() {
  const bool shares = ranks_here(*order) > 1;
  if (shares && (!offer || offer->generation != order->generation)) {
    if (std::exchange(awaits_memory, true)) return;
    return world.post(shared_from_this(), kRankMemoryWait, [this] {
      if (awaits_memory) fail_load({ErrorCode::deadline_exceeded, "no memory came", {}});
    });
  }
  awaits_memory = false;
  if (shares) plane = offer;
  if (order->hosts.empty()) return load();
  address = cluster.mesh.listen(std::static_pointer_cast<ShardHost>(shared_from_this()));
  tell_node(RankListening{order->group, order->generation, order->rank, *address});
}

void ShardHost::offered(std::shared_ptr<RankPlane> memory) {
  offer = std::move(memory);
  if (awaits_memory) prepare();
}

void ShardHost::join(const RankJoin& others) {
  world.expect(!joined, "{} is told twice where the others are", name);
  world.expect(address.has_value(), "{} is told where others are before it listens", name);
  if (joined || !address) return;
  joined = others;
  cluster.mesh.check(*this);
  dial_others();
}

void ShardHost::dial_others() {
  if (cluster.mesh.has_met(*this)) return load();
  world.post(shared_from_this(), world.between(5ms, 20ms), [this] { dial_others(); });
}

void ShardHost::fail_load(Error error) {
  LoadReport report{.group = order->group, .generation = order->generation, .rank = order->rank};
  report.error = std::move(error);
  tell_node(report);
  parent->end(name, incarnation, 5ms);
}

/// It serves: from now on the others count on it, and it on them.
void ShardHost::take_part() {
  if (joined) watch_others();
  if (!plane) return;
  plane->present.push_back(std::static_pointer_cast<ShardHost>(shared_from_this()));
  if (plane->over) dismissed(plane);
}

// -- while it serves

void ShardHost::dismissed(const std::shared_ptr<RankPlane>& memory) {
  if (memory == plane) let_go("the generation was aborted");
}

void ShardHost::watch_others() {
  if (const auto gone = cluster.mesh.broken(*this))
    return let_go(fmt::format("the connection to rank {} broke", *gone));
  world.post(shared_from_this(), 100ms, [this] { watch_others(); });
}

/// Nobody steps with it any more: rank 0's own step fails, another one says so and ends.
void ShardHost::let_go(const std::string& why) {
  if (spec.rank == 0) {
    alone = true;
    return;
  }
  tell_node(StepFault{spec.group, order->generation, {ErrorCode::aborted, why, {}}});
  parent->end(name, incarnation, 100ms);
}

bool ShardHost::others_step() {
  if (alone) {
    input(batcher_in::StepFailed{plans.front()->key,
                                 Error{ErrorCode::aborted, "the generation was aborted"}});
    return false;
  }
  if ((!plane || plane->complete()) && (!joined || cluster.mesh.complete(*this))) return true;
  // A rank that is away is noticed by its supervisor, or by the step's deadline.
  world.post(shared_from_this(), 5ms, [this] { finish_oldest(); });
  return false;
}

}  // namespace troupe::sim
