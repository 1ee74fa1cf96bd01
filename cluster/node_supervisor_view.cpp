// What others see of a node: the routing table of its groups and the rows of the actor tree.
#include <fmt/format.h>

#include <algorithm>

#include "cluster/node_supervisor.h"
#include "config/check.h"

namespace troupe {

std::vector<GroupEndpoint> NodeSupervisor::endpoints() const {
  std::vector<GroupEndpoint> all = own_endpoints();
  for (GroupEndpoint& other : peers_.endpoints()) all.push_back(std::move(other));
  return all;
}

std::vector<GroupEndpoint> NodeSupervisor::own_endpoints() const {
  std::vector<GroupEndpoint> all;
  for (const HeadedGroup& headed : config_.groups) {
    const ShardGroup& group = groups_.at(headed.order.group);
    GroupEndpoint e;
    e.group = headed.order.group;
    e.model = headed.order.model;
    e.node = config_.node;
    e.generation = group.generation();
    e.state = group.state();
    e.reason = group.reason();
    for (int32_t rank : ranks_here(e.group)) {
      const Supervision::Child* child = supervision_.find(child_of(e.group, rank));
      if (!child || child->state != ChildState::failed) continue;
      e.state = GroupState::failed;
      e.reason = died_too_often(*child);
    }
    if (const auto remote = remote_.find(e.group); remote != remote_.end())
      if (auto why = remote->second.failed()) {
        e.state = GroupState::failed;
        e.reason = std::move(*why);
      }
    e.socket = headed.socket;
    e.incarnation = group.head();
    e.weights_id = group.loaded().weights_id;
    e.numerics_id = group.loaded().numerics_id;
    e.context = group.loaded().context;
    all.push_back(std::move(e));
  }
  return all;
}

namespace {
std::string state_of(const Supervision::Child* child, const Membership::Process& process) {
  if (child && (child->state == ChildState::failed || child->state == ChildState::stopped))
    return std::string(name_of(child->state));
  if (process.standing != Standing::member) return "starting";
  return process.verdict == Verdict::suspect ? "suspect" : "ready";
}
}  // namespace

std::string NodeSupervisor::state() const {
  if (draining_) return "draining";
  if (peers_.cut_off()) return "suspect";
  for (const ActorStatus& row : tree())
    if (row.state != "ready") return "starting";
  return "ready";
}

void NodeSupervisor::describe_rank(const ChildSpec& child, ActorStatus& row) const {
  const bool runs = row.state == "ready";
  // What its spawn waits for, or what ended the one before.
  const bool to_come = row.pid == 0 && row.state == "starting";
  if (const auto lent = lent_.find(child.group); lent != lent_.end()) {
    const RankProxy::View rank = lent->second.proxy.view(child.rank);
    row.model = lent->second.terms.model;
    row.generation = rank.generation.value;
    if (!runs && !to_come) return;
    row.reason = rank.unready;
    if (!rank.unready.empty()) row.state = "starting";
    return;
  }
  const ShardGroup& group = groups_.at(child.group);
  row.model = headed(child.group).order.model;
  row.generation = group.generation().value;
  if (child.rank == 0) row.describe = group.loaded().describe;
  if (runs || to_come) row.reason = group.reason();
  if (runs) row.state = std::string(name_of(group.state()));
}

std::vector<ActorStatus> NodeSupervisor::tree() const {
  std::vector<ActorStatus> rows;
  for (const ChildSpec& child : config_.children) {
    const Supervision::Child* c = supervision_.find(child.name);
    ActorStatus row;
    row.id = child.name;
    row.role = child.role;
    if (c) {
      row.pid = c->pid;
      row.restarts = c->restarts;
      row.last_error = c->last_error;
    }
    row.state = state_of(c, *membership_.find(child.name));
    if (row.state == "ready" && draining_) row.state = "draining";
    const ProcessReport* report = membership_.current_report(child.name);
    if (child.role == Role::shard) {
      row.group = static_cast<int32_t>(child.group.value);
      row.rank = child.rank;
      describe_rank(child, row);
    }
    if (!report) {
      rows.push_back(std::move(row));
      continue;
    }
    // The process's own row first, then the actors inside it.
    auto fill = [](ActorStatus& to, const ActorReport& actor) {
      to.mailbox_depth = actor.mailbox_depth;
      to.mailbox_age = actor.mailbox_age;
      to.last_step_age = actor.last_step_age;
    };
    ActorStatus own = row;
    if (!report->describe.empty()) own.describe = report->describe;
    for (const ActorReport& actor : report->actors)
      if (actor.id == child.name) fill(own, actor);
    rows.push_back(std::move(own));
    for (const ActorReport& actor : report->actors) {
      if (actor.id == child.name) continue;
      ActorStatus inner = row;
      inner.id = actor.id;
      inner.role = actor.role;
      inner.describe.clear();
      inner.restarts = actor.restarts;
      inner.last_error = actor.last_error;
      fill(inner, actor);
      rows.push_back(std::move(inner));
    }
  }
  return rows;
}

}  // namespace troupe
