// A shard process as one of several ranks: it needs its generation's memory to load, and the others
// to step.
#include <utility>

#include "tests/sim/hosts.h"
#include "tests/sim/rank_plane.h"

namespace troupe::sim {

void ShardHost::offered(std::shared_ptr<RankPlane> memory) {
  offer = std::move(memory);
  if (awaiting && awaiting->generation == offer->generation) load(*std::exchange(awaiting, {}));
}

bool ShardHost::meets(const LoadOrder& order) {
  if (order.tensor_parallel == 1) return true;
  if (offer && offer->generation == order.generation) {
    plane = offer;
    return true;
  }
  awaiting = order;
  world.post(shared_from_this(), kRankMemoryWait, [this] {
    if (!awaiting) return;
    LoadReport report{
        .group = awaiting->group, .generation = awaiting->generation, .rank = awaiting->rank};
    report.error = {ErrorCode::deadline_exceeded, "no memory came", {}};
    tell_node(report);
    parent->end(name, incarnation, 5ms);
  });
  return false;
}

void ShardHost::dismissed(const std::shared_ptr<RankPlane>& memory) {
  if (memory != plane || spec.rank == 0) return;  // rank 0's own step fails
  tell_node(StepFault{
      spec.group, plane->generation, {ErrorCode::aborted, "the generation was aborted", {}}});
  parent->end(name, incarnation, 100ms);
}

bool ShardHost::others_step() {
  if (!plane) return true;
  if (plane->over) {
    input(batcher_in::StepFailed{plans.front()->key,
                                 Error{ErrorCode::aborted, "the generation was aborted"}});
    return false;
  }
  if (plane->complete()) return true;
  // A rank that is away is noticed by its supervisor, or by the step's deadline.
  world.post(shared_from_this(), 5ms, [this] { finish_oldest(); });
  return false;
}

}  // namespace troupe::sim
