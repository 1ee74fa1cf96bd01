#include "cluster/node_supervisor.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/check.h"

namespace troupe {

NodeSupervisor::NodeSupervisor(NodeSupervisorConfig config) : config_(std::move(config)) {
  for (const HeadedGroup& group : config_.groups)
    groups_.emplace(group.order.group,
                    ShardGroup(group.order.group, group.ranks, config_.limits.timing_scale));
}

const ChildSpec* NodeSupervisor::spec(const std::string& name) const {
  auto found = std::find_if(config_.children.begin(), config_.children.end(),
                            [&](const ChildSpec& c) { return c.name == name; });
  return found == config_.children.end() ? nullptr : &*found;
}

std::string NodeSupervisor::child_of(GroupId group, int32_t rank) const {
  for (const ChildSpec& child : config_.children)
    if (child.role == Role::shard && child.group == group && child.rank == rank) return child.name;
  TROUPE_CHECK(false, group, rank);
  return {};
}

bool NodeSupervisor::is_current(const std::string& child, Incarnation incarnation) const {
  const Supervision::Child* c = supervision_.find(child);
  return c && c->pid != 0 && c->incarnation == incarnation;
}

void NodeSupervisor::step(Time now, const NodeInput& input, NodeEffects& out) {
  if (std::holds_alternative<node_in::Start>(input)) {
    for (const ChildSpec& child : config_.children)
      supervise(now, supervision_in::Add{child.name}, out);
  } else if (auto* spawned = std::get_if<node_in::Spawned>(&input)) {
    out.push_back(node_out::Watch{spawned->child, spawned->incarnation});
    supervise(now, supervision_in::Spawned{spawned->child, spawned->incarnation, spawned->pid},
              out);
  } else if (auto* failed = std::get_if<node_in::SpawnFailed>(&input)) {
    supervise(now, supervision_in::SpawnFailed{failed->child, failed->reason}, out);
  } else if (auto* exited = std::get_if<node_in::Exited>(&input)) {
    if (is_current(exited->child, exited->incarnation)) {
      out.push_back(node_out::Forget{exited->child, exited->incarnation});
      on_lost(now, exited->child, exited->incarnation, exited->how, out);
      supervise(now, supervision_in::Exited{exited->child, exited->incarnation, exited->how}, out);
    }
  } else if (auto* from = std::get_if<node_in::FromChild>(&input)) {
    on_message(now, *from, out);
  } else if (auto* lost = std::get_if<node_in::LinkLost>(&input)) {
    auto link = links_.find(lost->child);
    if (link != links_.end() && link->second.incarnation == lost->incarnation &&
        is_current(lost->child, lost->incarnation)) {
      // A child that lost its link can neither serve nor be told to: it is replaced.
      on_lost(now, lost->child, lost->incarnation, "its link broke", out);
      out.push_back(node_out::End{lost->child, lost->incarnation, true});
    }
  } else if (auto* judged = std::get_if<node_in::Judged>(&input)) {
    if (is_current(judged->child, judged->incarnation)) {
      out.push_back(
          node_out::Event{"verdict", judged->child, std::string(name_of(judged->verdict))});
      const ChildSpec* child = spec(judged->child);
      if (child->role == Role::shard)
        group_step(now, child->group,
                   group_in::RankSuspect{child->rank, judged->incarnation,
                                         judged->verdict != Verdict::alive},
                   out);
      if (judged->verdict == Verdict::dead) {
        on_lost(now, judged->child, judged->incarnation, "it was silent", out);
        out.push_back(node_out::End{judged->child, judged->incarnation, true});
      }
    }
  } else if (auto* restart = std::get_if<node_in::Restart>(&input)) {
    if (const Supervision::Child* child = supervision_.find(restart->child);
        child && child->pid != 0)
      out.push_back(node_out::End{restart->child, child->incarnation, false});
  } else if (std::holds_alternative<node_in::Drain>(input)) {
    drain(now, out);
  } else {
    supervise(now, supervision_in::Tick{}, out);
    for (auto& [id, group] : groups_) group_step(now, id, group_in::Tick{}, out);
  }
  advance_drain(now, out);
}

void NodeSupervisor::supervise(Time now, const SupervisionInput& input, NodeEffects& out) {
  std::vector<SupervisionEffect> effects;
  supervision_.step(now, input, effects);
  for (SupervisionEffect& effect : effects) {
    if (auto* spawn = std::get_if<supervision_out::Spawn>(&effect)) {
      out.push_back(node_out::Spawn{*spec(spawn->child)});
    } else if (auto* end = std::get_if<supervision_out::End>(&effect)) {
      out.push_back(node_out::End{end->child, end->incarnation, false});
    } else if (auto* changed = std::get_if<supervision_out::Changed>(&effect)) {
      out.push_back(node_out::Event{"child", changed->child,
                                    fmt::format("{}: {}", name_of(changed->state), changed->why)});
      if (changed->state == ChildState::failed || changed->state == ChildState::backoff)
        announce(out);
    }
  }
}

void NodeSupervisor::group_step(Time now, GroupId id, const GroupInput& input, NodeEffects& out) {
  ShardGroup& group = groups_.at(id);
  std::vector<GroupEffect> effects;
  group.step(now, input, effects);
  for (GroupEffect& effect : effects) {
    if (auto* load = std::get_if<group_out::Load>(&effect)) {
      auto headed = std::find_if(config_.groups.begin(), config_.groups.end(),
                                 [&](const HeadedGroup& g) { return g.order.group == id; });
      LoadOrder order = headed->order;
      order.generation = load->generation;
      order.rank = load->rank;
      out.push_back(
          node_out::ToChild{child_of(id, load->rank), load->incarnation, std::move(order)});
    } else if (auto* abort = std::get_if<group_out::Abort>(&effect)) {
      out.push_back(node_out::ToChild{child_of(id, abort->rank), abort->incarnation,
                                      AbortOrder{id, abort->generation}});
    } else if (auto* kill = std::get_if<group_out::Kill>(&effect)) {
      const std::string child = child_of(id, kill->rank);
      out.push_back(node_out::Event{"kill", child, kill->why});
      out.push_back(node_out::End{child, kill->incarnation, true});
    } else {
      out.push_back(
          node_out::Event{"group", fmt::format("{}.{}", id.value, group.generation().value),
                          fmt::format("{}{}{}", name_of(group.state()),
                                      group.reason().empty() ? "" : ": ", group.reason())});
      announce(out);
    }
  }
}

void NodeSupervisor::announce(NodeEffects& out) {
  ++table_version_;
  for (const auto& [name, link] : links_)
    if (spec(name)->role == Role::router)
      out.push_back(node_out::ToChild{name, link.incarnation, routing()});
}

void NodeSupervisor::on_lost(Time now, const std::string& child, Incarnation incarnation,
                             const std::string& why, NodeEffects& out) {
  auto link = links_.find(child);
  if (link != links_.end() && link->second.incarnation == incarnation) links_.erase(link);
  const ChildSpec* s = spec(child);
  if (s->role == Role::shard)
    group_step(now, s->group, group_in::RankLost{s->rank, incarnation, why}, out);
  else
    journal_.router_lost(now, incarnation);
}

void NodeSupervisor::on_hello(Time now, const node_in::FromChild& from, const Hello& hello,
                              NodeEffects& out) {
  std::string reason;
  const ChildSpec* child = spec(hello.process);
  if (hello.cluster != config_.cluster)
    reason = fmt::format("it belongs to cluster {}, this is {}", hello.cluster, config_.cluster);
  else if (hello.wire_version != config_.wire_version)
    reason = fmt::format("it speaks wire version {}, this is {}", hello.wire_version,
                         config_.wire_version);
  else if (!child || child->role != hello.role)
    reason = fmt::format("process {} is not part of node {}", hello.process, config_.node);
  else if (!is_current(hello.process, hello.incarnation))
    reason = "it is not the process this node started";
  else if (hello.build != config_.build)
    reason = fmt::format("it is build {}, this is {}", hello.build, config_.build);
  else if (hello.config_digest != config_.config_digest)
    reason = "its config differs from this node's";
  out.push_back(node_out::ToChild{from.child, from.incarnation,
                                  HelloReply{config_.incarnation, reason.empty(), reason}});
  if (!reason.empty()) {
    out.push_back(node_out::Event{"hello refused", hello.process, reason});
    ++dropped_;
    return;
  }
  links_[hello.process] = Link{hello.incarnation};
  if (child->role == Role::router)
    out.push_back(node_out::ToChild{hello.process, hello.incarnation, routing()});
  else
    group_step(now, child->group, group_in::RankUp{child->rank, hello.incarnation}, out);
}

void NodeSupervisor::on_message(Time now, const node_in::FromChild& from, NodeEffects& out) {
  if (auto* hello = std::get_if<Hello>(&from.message)) {
    on_hello(now, from, *hello, out);
    return;
  }
  auto link = links_.find(from.child);
  if (link == links_.end() || link->second.incarnation != from.incarnation) {
    ++dropped_;
    return;
  }
  const ChildSpec& child = *spec(from.child);
  if (auto* report = std::get_if<LoadReport>(&from.message); report && child.role == Role::shard) {
    if (!report->ok) out.push_back(node_out::LoadFailed{report->group, report->error});
    if (report->group == child.group)
      group_step(now, child.group, group_in::Loaded{from.incarnation, *report}, out);
  } else if (auto* fault = std::get_if<StepFault>(&from.message);
             fault && child.role == Role::shard) {
    if (fault->group == child.group)
      group_step(now, child.group, group_in::Fault{from.incarnation, *fault}, out);
  } else if (auto* process = std::get_if<ProcessReport>(&from.message)) {
    ProcessReport& known = reports_[from.child];
    if (process->serving && !(known.serving && known.incarnation == process->incarnation))
      out.push_back(node_out::Serving{from.child});
    known = *process;
  } else if (auto* append = std::get_if<JournalAppend>(&from.message);
             append && child.role == Role::router) {
    if (append->router != from.incarnation) {
      ++dropped_;
    } else if (auto ack = journal_.append(now, *append)) {
      out.push_back(node_out::ToChild{from.child, from.incarnation, *ack});
    }
  } else if (auto* read = std::get_if<JournalRead>(&from.message)) {
    out.push_back(node_out::ToChild{from.child, from.incarnation, journal_.read(read->id)});
  } else if (std::holds_alternative<Drained>(from.message) && draining_) {
    supervise(now, supervision_in::Stop{from.child}, out);
  } else {
    ++dropped_;
  }
}

void NodeSupervisor::drain(Time now, NodeEffects& out) {
  if (draining_) {
    drain_due_ = now;
    return;
  }
  draining_ = true;
  drain_due_ = now + config_.limits.drain;
  out.push_back(node_out::Event{"drain", config_.node,
                                fmt::format("within {} s", to_seconds(config_.limits.drain))});
  for (const ChildSpec& child : config_.children) {
    if (child.role != Role::router) continue;
    auto link = links_.find(child.name);
    if (link != links_.end())
      out.push_back(node_out::ToChild{child.name, link->second.incarnation,
                                      DrainOrder{config_.limits.drain}});
    else
      supervise(now, supervision_in::Stop{child.name}, out);  // it serves nobody yet
  }
}

void NodeSupervisor::advance_drain(Time now, NodeEffects& out) {
  if (!draining_ || stopped_) return;
  const bool late = now >= drain_due_;
  bool routers_gone = true;
  for (const ChildSpec& child : config_.children) {
    if (child.role != Role::router) continue;
    const Supervision::Child* c = supervision_.find(child.name);
    if (c && (late || c->pid == 0)) supervise(now, supervision_in::Stop{child.name}, out);
    routers_gone &= !c || c->pid == 0;
  }
  if ((routers_gone || late) && !shards_ending_) {
    shards_ending_ = true;
    for (const ChildSpec& child : config_.children)
      if (child.role == Role::shard && supervision_.find(child.name))
        supervise(now, supervision_in::Stop{child.name}, out);
  }
  const bool all_gone = std::all_of(
      supervision_.children().begin(), supervision_.children().end(),
      [](const auto& c) { return c.second.pid == 0 && c.second.state == ChildState::stopped; });
  if (shards_ending_ && all_gone) {
    stopped_ = true;
    out.push_back(node_out::Stopped{});
  }
}

std::optional<Time> NodeSupervisor::deadline() const {
  std::optional<Time> earliest = supervision_.deadline();
  auto consider = [&](std::optional<Time> at) {
    if (at && (!earliest || *at < *earliest)) earliest = at;
  };
  for (const auto& [id, group] : groups_) consider(group.deadline());
  if (draining_ && !shards_ending_) consider(drain_due_);
  return earliest;
}

RoutingTable NodeSupervisor::routing() const {
  RoutingTable table{config_.incarnation, table_version_, {}};
  for (const HeadedGroup& headed : config_.groups) {
    const ShardGroup& group = groups_.at(headed.order.group);
    GroupEndpoint e;
    e.group = headed.order.group;
    e.model = headed.order.model;
    e.node = config_.node;
    e.generation = group.generation();
    e.state = group.state();
    e.reason = group.reason();
    const Supervision::Child* head = supervision_.find(child_of(e.group, 0));
    if (head && head->state == ChildState::failed) {
      e.state = GroupState::failed;
      e.reason =
          fmt::format("its shard process died {} times in {} s, tried again every {} s; last: {}",
                      kRestartBudget + 1, to_seconds(kRestartWindow), to_seconds(kFailedRetry),
                      head->last_error);
    }
    e.socket = headed.socket;
    e.incarnation = group.head();
    e.weights_id = group.loaded().weights_id;
    e.numerics_id = group.loaded().numerics_id;
    e.context = group.loaded().context;
    table.groups.push_back(std::move(e));
  }
  return table;
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
    row.state = !c || c->state == ChildState::starting || c->state == ChildState::backoff
                    ? "starting"
                : c->state == ChildState::failed  ? "failed"
                : c->state == ChildState::stopped ? "stopped"
                : !links_.contains(child.name)    ? "starting"
                : draining_                       ? "draining"
                                                  : "ready";
    auto reported = reports_.find(child.name);
    const ProcessReport* report =
        reported != reports_.end() && c && reported->second.incarnation == c->incarnation && c->pid
            ? &reported->second
            : nullptr;
    if (child.role == Role::shard) {
      const ShardGroup& group = groups_.at(child.group);
      row.group = static_cast<int32_t>(child.group.value);
      row.rank = child.rank;
      row.generation = group.generation().value;
      for (const HeadedGroup& headed : config_.groups)
        if (headed.order.group == child.group) row.model = headed.order.model;
      if (row.state == "ready") {
        row.state = std::string(name_of(group.state()));
        row.reason = group.reason();
      }
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
    own.describe = report->describe;
    for (const ActorReport& actor : report->actors)
      if (actor.id == child.name) fill(own, actor);
    rows.push_back(std::move(own));
    for (const ActorReport& actor : report->actors) {
      if (actor.id == child.name) continue;
      ActorStatus inner = row;
      inner.id = actor.id;
      inner.role = actor.role;
      inner.restarts = actor.restarts;
      inner.last_error = actor.last_error;
      fill(inner, actor);
      rows.push_back(std::move(inner));
    }
  }
  return rows;
}

void NodeSupervisor::check() const {
  supervision_.check();
  for (const auto& [id, group] : groups_) group.check();
  for (const auto& [name, link] : links_) TROUPE_CHECK(is_current(name, link.incarnation), name);
  journal_.check();
}

}  // namespace troupe
