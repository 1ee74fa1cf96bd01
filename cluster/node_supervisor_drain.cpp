// The planned end of a node: routers, groups, ranks, link, in this order.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cluster/node_supervisor.h"
#include "config/limits.h"

namespace troupe {

void NodeSupervisor::drain(Time now, NodeEffects& out) {
  if (draining_) {
    drain_due_ = std::min(drain_due_, now);
    return;
  }
  draining_ = true;
  drain_due_ = now + config_.limits.drain;
  report_wanted_ = true;
  out.push_back(node_out::Event{"drain", config_.node,
                                fmt::format("within {} s", to_seconds(config_.limits.drain))});
  for (const auto& [name, process] : membership_.processes()) {
    if (!supervision_.find(name)) continue;
    if (process.role != Role::router) {
      supervise(now, supervision_in::Retire{name}, out);
    } else if (process.standing == Standing::member) {
      supervise(now, supervision_in::Retire{name}, out);
      out.push_back(node_out::ToChild{name, process.incarnation, DrainOrder{config_.limits.drain}});
    } else {
      supervise(now, supervision_in::Stop{name}, out);  // it serves nobody yet
    }
  }
}

void NodeSupervisor::advance_drain(Time now, NodeEffects& out) {
  if (!draining_ || stopped_) return;
  const bool late = now >= drain_due_;
  if (late) stop_all(now, Role::router, out);
  if (!late && all_gone(Role::router) && !std::exchange(groups_draining_, true))
    drain_groups(now, out);
  if ((late || (groups_draining_ && finishing_.empty())) && !shards_ending_) {
    shards_ending_ = true;
    gone_by_ = now + kEndingMax;
    stop_all(now, Role::shard, out);
  }
  // The link ends last: other nodes are still told that ranks of theirs end.
  if (shards_ending_ && all_gone(Role::shard)) stop_all(now, Role::link, out);
  for (const ChildSpec& child : config_.children) {
    const Supervision::Child* c = supervision_.find(child.name);
    // Without one of its ranks, or without the will to keep it, a group takes nobody in again.
    if (child.role == Role::shard && (!c || c->state == ChildState::stopped))
      rank_event(now, child.group, group_in::Drain{}, out);
  }
  const bool gone = all_gone(Role::router) && all_gone(Role::shard) && all_gone(Role::link);
  if (!shards_ending_ || (!gone && now < gone_by_)) return;
  if (!gone)
    out.push_back(node_out::Event{"drain", config_.node, "some processes did not end in time"});
  stopped_ = true;
  out.push_back(node_out::Stopped{});
}

// Routers of other nodes may still have requests here. Those wait for nobody else: a group that is
// not ready has none.
void NodeSupervisor::drain_groups(Time now, NodeEffects& out) {
  for (const ChildSpec& child : config_.children) {
    if (child.role != Role::shard || child.rank != 0 || !groups_.contains(child.group)) continue;
    const GroupState state = groups_.at(child.group).state();
    if (state != GroupState::ready && state != GroupState::suspect) continue;
    rank_event(now, child.group, group_in::Drain{}, out);
    out.push_back(node_out::ToChild{child.name, membership_.find(child.name)->incarnation,
                                    DrainOrder{drain_due_ - now}});
    finishing_.insert(child.name);
  }
}

bool NodeSupervisor::all_gone(Role role) const {
  return std::ranges::all_of(config_.children, [&](const ChildSpec& child) {
    const Supervision::Child* c = supervision_.find(child.name);
    return child.role != role || !c || c->gone();
  });
}

void NodeSupervisor::stop_all(Time now, Role role, NodeEffects& out) {
  for (const ChildSpec& child : config_.children)
    if (child.role == role && supervision_.find(child.name))
      supervise(now, supervision_in::Stop{child.name}, out);
}

}  // namespace troupe
