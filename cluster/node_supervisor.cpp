#include "cluster/node_supervisor.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/check.h"

namespace troupe {

namespace {
Hello hello_of(const NodeSupervisorConfig& c) {
  return {c.cluster,        c.wire_version,         c.build,       c.node,
          Role::supervisor, c.node + "/supervisor", c.incarnation, c.config_digest};
}
}  // namespace

NodeSupervisor::NodeSupervisor(NodeSupervisorConfig config)
    : config_(std::move(config)),
      membership_({config_.cluster, config_.node, config_.build, config_.wire_version,
                   config_.config_digest}),
      peers_({hello_of(config_), config_.peers, config_.limits.timing_scale}) {
  for (const ChildSpec& child : config_.children) membership_.add(child.name, child.role);
  adopt_groups();
  table_ = {config_.incarnation, 1, endpoints(), peers_.remark()};
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

void NodeSupervisor::step(Time now, const NodeInput& input, NodeEffects& out) {
  if (std::holds_alternative<node_in::Start>(input)) {
    if (!draining_)
      for (const ChildSpec& child : config_.children)
        supervise(now, supervision_in::Add{child.name}, out);
    on_peer(now, peer_in::Start{}, out);
  } else if (auto* spawned = std::get_if<node_in::Spawned>(&input)) {
    on_spawned(now, *spawned, out);
  } else if (auto* failed = std::get_if<node_in::SpawnFailed>(&input)) {
    supervise(now, supervision_in::SpawnFailed{failed->child, failed->reason}, out);
  } else if (auto* waits = std::get_if<node_in::SpawnWaits>(&input)) {
    on_spawn_waits(now, *waits, out);
  } else if (auto* exited = std::get_if<node_in::Exited>(&input)) {
    on_exited(now, *exited, out);
  } else if (auto* from = std::get_if<node_in::FromChild>(&input)) {
    on_message(now, *from, out);
  } else if (auto* broken = std::get_if<node_in::LinkLost>(&input)) {
    // Of a process not accepted it says nothing: it may be a stranger's.
    if (membership_.is_member(broken->child, broken->incarnation))
      give_up(now, broken->child, broken->incarnation, "its link broke", out);
  } else if (auto* dialled = std::get_if<node_in::PeerDialled>(&input)) {
    on_peer(now, peer_in::Dialled{dialled->node, dialled->link}, out);
  } else if (auto* said = std::get_if<node_in::FromPeer>(&input)) {
    on_peer(now, peer_in::From{said->node, said->incarnation, said->link, said->message}, out);
  } else if (auto* lost_peer = std::get_if<node_in::PeerLost>(&input)) {
    on_peer(now, peer_in::Lost{lost_peer->node, lost_peer->link}, out);
  } else if (auto* judged = std::get_if<node_in::Judged>(&input)) {
    on_judged(now, *judged, out);
  } else if (auto* unshared = std::get_if<node_in::ShareFailed>(&input)) {
    rank_event(now, unshared->group, group_in::Unformed{unshared->generation, unshared->error},
               out);
  } else if (auto* restart = std::get_if<node_in::Restart>(&input)) {
    if (supervision_.find(restart->child))
      supervise(now, supervision_in::Restart{restart->child}, out);
  } else if (std::holds_alternative<node_in::Drain>(input)) {
    drain(now, out);
  } else {
    on_tick(now, out);
  }
  advance_drain(now, out);
  publish(out);
  report_to_peers(now, out);
}

void NodeSupervisor::on_spawned(Time now, const node_in::Spawned& spawned, NodeEffects& out) {
  membership_.spawned(now, spawned.child, spawned.incarnation, config_.limits.timing_scale);
  out.push_back(node_out::Watch{spawned.child, spawned.incarnation});
  supervise(now, supervision_in::Spawned{spawned.child, spawned.incarnation, spawned.pid}, out);
}

void NodeSupervisor::on_spawn_waits(Time now, const node_in::SpawnWaits& waits, NodeEffects& out) {
  const ChildSpec* child = spec(waits.child);
  const Supervision::Child* process = supervision_.find(waits.child);
  // What is told late of a spawn that was carried out is old news.
  if (!child || child->role != Role::shard || !process || !process->spawning) return;
  rank_event(now, child->group, group_in::RankAwaits{child->rank, waits.what}, out);
}

void NodeSupervisor::on_exited(Time now, const node_in::Exited& exited, NodeEffects& out) {
  if (!membership_.is_current(exited.child, exited.incarnation)) return;
  out.push_back(node_out::Forget{exited.child, exited.incarnation});
  if (membership_.lose(exited.child, exited.incarnation))
    lost(now, exited.child, exited.incarnation, exited.how, out);
  membership_.reaped(exited.child, exited.incarnation);
  supervise(now, supervision_in::Exited{exited.child, exited.incarnation, exited.how}, out);
}

void NodeSupervisor::on_judged(Time now, const node_in::Judged& judged, NodeEffects& out) {
  if (peers_.knows(judged.child))
    return on_peer(now, peer_in::Judged{judged.child, judged.incarnation, judged.verdict}, out);
  if (!membership_.judge(judged.child, judged.incarnation, judged.verdict)) return;
  out.push_back(node_out::Event{"verdict", judged.child, std::string(name_of(judged.verdict))});
  if (judged.verdict == Verdict::dead) {
    lost(now, judged.child, judged.incarnation, "it was silent", out);
    out.push_back(node_out::End{judged.child, judged.incarnation, true});
  } else if (const ChildSpec* child = spec(judged.child); child->role == Role::shard) {
    rank_event(
        now, child->group,
        group_in::RankSuspect{child->rank, judged.incarnation, judged.verdict == Verdict::suspect},
        out);
  }
}

void NodeSupervisor::on_tick(Time now, NodeEffects& out) {
  supervise(now, supervision_in::Tick{}, out);
  for (auto& [id, group] : groups_) group_step(now, id, group_in::Tick{}, out);
  for (auto& [id, lent] : lent_) proxy_step(now, id, group_in::Tick{}, out);
  for (const std::string& name : membership_.overdue(now))
    give_up(now, name, membership_.find(name)->incarnation, "it never said Hello", out);
  on_peer(now, peer_in::Tick{}, out);
}

void NodeSupervisor::supervise(Time now, const SupervisionInput& input, NodeEffects& out) {
  std::vector<SupervisionEffect> effects;
  supervision_.step(now, input, effects);
  table_dirty_ |= !effects.empty();
  for (SupervisionEffect& effect : effects) {
    if (auto* spawn = std::get_if<supervision_out::Spawn>(&effect)) {
      out.push_back(node_out::Spawn{*spec(spawn->child)});
    } else if (auto* end = std::get_if<supervision_out::End>(&effect)) {
      out.push_back(node_out::End{end->child, end->incarnation, false});
    } else if (auto* changed = std::get_if<supervision_out::Changed>(&effect)) {
      out.push_back(node_out::Event{"child", changed->child,
                                    fmt::format("{}: {}", name_of(changed->state), changed->why)});
      // The head of a group over nodes can't see it by itself.
      const ChildSpec& child = *spec(changed->child);
      if (changed->state == ChildState::failed && child.role == Role::shard &&
          lent_.contains(child.group))
        proxy_step(now, child.group,
                   proxy_in::RankFailed{child.rank, died_too_often(*supervision_.find(child.name))},
                   out);
    }
  }
}

void NodeSupervisor::publish(NodeEffects& out) {
  if (!std::exchange(table_dirty_, false)) return;
  std::vector<GroupEndpoint> groups = endpoints();
  std::string remark = peers_.remark();
  if (groups == table_.groups && remark == table_.remark) return;
  // Its own groups come first.
  const auto own = static_cast<std::ptrdiff_t>(config_.groups.size());
  report_wanted_ |= !std::equal(groups.begin(), groups.begin() + own, table_.groups.begin());
  report_wanted_ |= peers_.cut_off() != table_.cut_off;
  table_.groups = std::move(groups);
  table_.remark = std::move(remark);
  table_.cut_off = peers_.cut_off();
  ++table_.version;
  for (const auto& [name, process] : membership_.processes())
    if (process.role == Role::router && process.standing == Standing::member)
      out.push_back(node_out::ToChild{name, process.incarnation, table_});
}

void NodeSupervisor::lost(Time now, const std::string& child, Incarnation incarnation,
                          const std::string& why, NodeEffects& out) {
  const ChildSpec* s = spec(child);
  finishing_.erase(child);
  if (s->role == Role::shard)
    rank_event(now, s->group, group_in::RankLost{s->rank, incarnation, why}, out);
  else if (s->role == Role::router)
    journal_.router_lost(now, incarnation);
}

// A child that can't be told anything can neither serve nor be trusted: it is replaced.
void NodeSupervisor::give_up(Time now, const std::string& child, Incarnation incarnation,
                             const std::string& why, NodeEffects& out) {
  if (!membership_.lose(child, incarnation)) return;
  out.push_back(node_out::Event{"given up", child, why});
  lost(now, child, incarnation, why, out);
  out.push_back(node_out::End{child, incarnation, true});
}

void NodeSupervisor::on_hello(Time now, const Hello& hello, NodeEffects& out) {
  const Supervision::Child* process = supervision_.find(hello.process);
  const bool leaving = process && process->state == ChildState::stopped;
  auto admission =
      leaving ? fail(ErrorCode::unavailable, "this node is draining") : membership_.greet(hello);
  const std::string reason = admission ? "" : admission.error().message;
  out.push_back(node_out::ToChild{hello.process, hello.incarnation,
                                  HelloReply{config_.incarnation, admission.has_value(), reason}});
  if (!admission) {
    out.push_back(node_out::Event{"hello refused", hello.process, reason});
    ++dropped_;
    return;
  }
  const ChildSpec& child = *spec(hello.process);
  if (child.role == Role::router) {
    out.push_back(node_out::ToChild{child.name, hello.incarnation, table_});
  } else if (child.role == Role::shard && *admission == Membership::Admission::joined) {
    rank_event(now, child.group, group_in::RankUp{child.rank, hello.incarnation}, out);
    if (membership_.find(child.name)->verdict == Verdict::suspect)
      rank_event(now, child.group, group_in::RankSuspect{child.rank, hello.incarnation, true}, out);
  }
}

void NodeSupervisor::on_message(Time now, const node_in::FromChild& from, NodeEffects& out) {
  if (auto* hello = std::get_if<Hello>(&from.message)) {
    if (hello->process == from.child && hello->incarnation == from.incarnation)
      on_hello(now, *hello, out);
    else
      ++dropped_;
    return;
  }
  if (!membership_.is_member(from.child, from.incarnation)) {
    ++dropped_;
    return;
  }
  if (auto* report = std::get_if<ProcessReport>(&from.message)) {
    const ProcessReport* known = membership_.current_report(from.child);
    const bool served = known && known->serving;
    if (!membership_.report(from.child, from.incarnation, *report))
      ++dropped_;
    else if (report->serving && !served)
      out.push_back(node_out::Serving{from.child});
    return;
  }
  const ChildSpec& child = *spec(from.child);
  if (child.role == Role::shard)
    on_shard_message(now, child, from, out);
  else if (child.role == Role::router)
    on_router_message(now, from, out);
  else
    ++dropped_;  // a link only reports
}

void NodeSupervisor::on_shard_message(Time now, const ChildSpec& child,
                                      const node_in::FromChild& from, NodeEffects& out) {
  if (auto* report = std::get_if<LoadReport>(&from.message);
      report && report->group == child.group && report->rank == child.rank) {
    rank_event(now, child.group, group_in::Loaded{from.incarnation, *report}, out);
  } else if (auto* listening = std::get_if<RankListening>(&from.message);
             listening && listening->group == child.group && listening->rank == child.rank) {
    rank_event(now, child.group, group_in::Listening{from.incarnation, *listening}, out);
  } else if (auto* fault = std::get_if<StepFault>(&from.message);
             fault && fault->group == child.group) {
    rank_event(now, child.group, group_in::Fault{from.incarnation, *fault}, out);
  } else if (auto* drained = std::get_if<Drained>(&from.message);
             drained && drained->process == from.child && finishing_.contains(from.child)) {
    finishing_.erase(from.child);
  } else {
    ++dropped_;
  }
}

void NodeSupervisor::on_router_message(Time now, const node_in::FromChild& from, NodeEffects& out) {
  if (auto* append = std::get_if<JournalAppend>(&from.message);
      append && append->router == from.incarnation) {
    if (auto ack = journal_.append(now, *append))
      out.push_back(node_out::ToChild{from.child, from.incarnation, *ack});
  } else if (auto* read = std::get_if<JournalRead>(&from.message)) {
    out.push_back(node_out::ToChild{from.child, from.incarnation, journal_.read(read->id)});
  } else if (auto* drained = std::get_if<Drained>(&from.message);
             drained && draining_ && drained->process == from.child) {
    supervise(now, supervision_in::Stop{from.child}, out);
  } else {
    ++dropped_;
  }
}

std::optional<Time> NodeSupervisor::deadline() const {
  std::optional<Time> earliest = supervision_.deadline();
  auto consider = [&](std::optional<Time> at) {
    if (at && (!earliest || *at < *earliest)) earliest = at;
  };
  consider(membership_.deadline());
  consider(peers_.deadline());
  if (!peers_.joined().empty()) consider(report_due_);
  for (const auto& [id, group] : groups_) consider(group.deadline());
  for (const auto& [id, lent] : lent_) consider(lent.proxy.deadline());
  if (draining_ && !stopped_) consider(shards_ending_ ? gone_by_ : drain_due_);
  return earliest;
}

void NodeSupervisor::check() const {
  supervision_.check();
  membership_.check();
  journal_.check();
  peers_.check();
  for (const auto& [id, group] : groups_) group.check();
  for (const auto& [id, lent] : lent_) lent.proxy.check();
  for (const auto& [name, process] : membership_.processes()) {
    const Supervision::Child* child = supervision_.find(name);
    const bool runs = child && child->pid != 0;
    TROUPE_CHECK(runs == (process.standing != Standing::absent), name, name_of(process.standing));
    TROUPE_CHECK(!runs || child->incarnation == process.incarnation, name, process.incarnation);
    TROUPE_CHECK(!draining_ || !child || child->state != ChildState::starting, name);
  }
  for (const GroupEndpoint& group : table_.groups) {
    if (group.node != config_.node) continue;
    if (group.state != GroupState::ready && group.state != GroupState::suspect) continue;
    TROUPE_CHECK(membership_.is_member(child_of(group.group, 0), group.incarnation), group.group,
                 group.incarnation);
  }
}

}  // namespace troupe
