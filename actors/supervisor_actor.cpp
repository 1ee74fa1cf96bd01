#include "actors/supervisor_actor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "actors/log.h"
#include "net/shm_collective.h"

namespace troupe {

SupervisorActor::SupervisorActor(caf::actor_config& config, SupervisorActorConfig setup)
    : caf::event_based_actor(config),
      setup_(std::move(setup)),
      machine_(setup_.machine),
      timer_(this),
      second_(this),
      peers_(this, setup_.middleman, setup_.doors, setup_.machine.limits.timing_scale) {
  die_on_exception(this, "supervisor");
  health_report_.id = setup_.machine.node + "/health";
  health_report_.role = Role::health;
}

caf::behavior SupervisorActor::make_behavior() {
  set_down_handler([this](caf::down_msg& down) {
    if (health_ && down.source == health_.address()) {
      ++health_report_.restarts;
      health_report_.last_error = home_system().render(down.reason);
      log_event(LogLevel::error, "the health actor failed", {{"why", health_report_.last_error}});
      if (health_budget_.died(now_of(this))) return start_health();
      log_event(LogLevel::error, "the health actor keeps failing; the node ends");
      setup_.exit(70);
      return;
    }
    if (auto gone = peers_.lost(down.source)) return feed(*gone);
    auto link = links_.find(down.source);
    if (link == links_.end()) return;
    const Link gone = link->second;
    links_.erase(link);
    feed(node_in::LinkLost{gone.child, gone.incarnation});
  });
  start_health();
  second_.arm();
  return {
      [this](const WireBytes& bytes) { on_bytes(bytes); },
      [this](Local<NodeInput>& input) { feed(*input.value); },
      [this](Local<DetectorEffect>& judged) {
        feed(node_in::Judged{judged.value->peer, judged.value->incarnation, judged.value->verdict});
      },
      [this](Local<ActorReport>& health) {
        health_report_.mailbox_depth = health.value->mailbox_depth;
        health_report_.mailbox_age = health.value->mailbox_age;
      },
      [this](Local<BeatNote>& beat) { send(health_, beat); },
      [this](tick_atom, uint64_t number) {
        if (timer_.fired(number)) feed(node_in::Tick{});
      },
      [this](second_atom) {
        publish_tree();
        second_.arm();
      },
  };
}

void SupervisorActor::start_health() {
  health_ = home_system().spawn<HealthActor>(caf::actor_cast<caf::actor>(this),
                                             setup_.machine.limits.timing_scale);
  monitor(health_);
  for (const auto& [name, incarnation] : watched_) watch(name);
}

void SupervisorActor::watch(const std::string& name) {
  send(health_, local(DetectorInput(detector_in::Watch{name, watched_.at(name)})));
}

void SupervisorActor::on_bytes(const WireBytes& bytes) {
  auto envelope = decode(bytes);
  if (!envelope) {
    log_event(LogLevel::warning, "message dropped", {{"why", envelope.error().message}});
    return;
  }
  auto peer = caf::actor_cast<caf::actor>(current_sender());
  if (!peer) return;
  if (auto from_node = peers_.heard(peer, *envelope)) return feed(*from_node);
  auto* hello = std::get_if<Hello>(&envelope->message);
  if (hello && hello->role == Role::supervisor)
    return peers_.greeted(peer, std::move(*envelope),
                          [this](const NodeInput& from) { feed(from); });
  if (hello) {
    monitor(peer);
    links_[peer.address()] = Link{hello->process, hello->incarnation, peer};
  }
  auto link = links_.find(peer.address());
  if (link == links_.end()) return;  // nothing counts before its Hello
  feed(node_in::FromChild{link->second.child, link->second.incarnation,
                          std::move(envelope->message)});
}

void SupervisorActor::feed(const NodeInput& input) {
  machine_.step(now_of(this), input, effects_);
  const bool journal_only =
      effects_.size() == 1 && std::holds_alternative<node_out::ToChild>(effects_.front()) &&
      std::holds_alternative<JournalAck>(std::get<node_out::ToChild>(effects_.front()).message);
  NodeEffects effects = std::exchange(effects_, {});
  for (NodeEffect& effect : effects) perform(effect);
  if (!effects.empty() && !journal_only) publish_tree();
  timer_.arm(machine_.deadline());
}

void SupervisorActor::perform(NodeEffect& effect) {
  if (auto* spawn = std::get_if<node_out::Spawn>(&effect)) {
    ChildStart start = setup_.starts.at(spawn->child.name);
    start.role = spawn->child.role;
    start.incarnation = setup_.draw_incarnation();
    auto go = [spawn = setup_.spawn,
               descriptors = setup_.descriptors[start.process]](const ChildStart& prepared) {
      spawn({prepared.process, prepared.incarnation, encode_child_start(prepared), descriptors});
    };
    if (setup_.prepare)
      setup_.prepare(std::move(start), std::move(go));
    else
      go(start);
  } else if (auto* end = std::get_if<node_out::End>(&effect)) {
    setup_.end({end->child, end->incarnation, end->force, kAbortDeadline});
  } else if (auto* to = std::get_if<node_out::ToChild>(&effect)) {
    for (const auto& [address, link] : links_)
      if (link.child == to->child && link.incarnation == to->incarnation) {
        send(link.peer, wire(setup_.machine.incarnation, std::move(to->message)));
        break;
      }
  } else if (auto* say = std::get_if<node_out::ToPeer>(&effect)) {
    if (auto* report = std::get_if<NodeReport>(&say->message)) {
      const auto own = own_rows();
      report->actors.insert(report->actors.begin(), own.begin(), own.end());
      report->actors.resize(std::min(report->actors.size(), kNodeReportActorsMax));
    }
    if (const caf::actor peer = peers_.find(*say))
      send(peer, wire(setup_.machine.incarnation, std::move(say->message)));
  } else if (auto* dial = std::get_if<node_out::DialPeer>(&effect)) {
    peers_.dial(dial->node, [this](const NodeInput& end) { feed(end); });
  } else if (auto* drop = std::get_if<node_out::DropPeer>(&effect)) {
    peers_.drop(drop->node, drop->link);
  } else if (auto* cut = std::get_if<node_out::CutPeer>(&effect)) {
    peers_.drop(cut->node, {});
  } else if (auto* beat = std::get_if<node_out::PeerBeat>(&effect)) {
    send(health_, local(BeatNote{beat->node, beat->incarnation}));
  } else if (auto* ranks = std::get_if<node_out::Share>(&effect)) {
    share(*ranks);
  } else if (auto* over = std::get_if<node_out::Unshare>(&effect)) {
    unshare(*over);
  } else if (auto* watched = std::get_if<node_out::Watch>(&effect)) {
    watched_[watched->child] = watched->incarnation;
    watch(watched->child);
  } else if (auto* gone = std::get_if<node_out::Forget>(&effect)) {
    watched_.erase(gone->child);
    send(health_, local(DetectorInput(detector_in::Forget{gone->child, gone->incarnation})));
  } else if (auto* event = std::get_if<node_out::Event>(&effect)) {
    log_event(LogLevel::info, event->what, {{"who", event->child}, {"detail", event->detail}});
  } else if (auto* serving = std::get_if<node_out::Serving>(&effect)) {
    setup_.serving(serving->child);
  } else if (auto* failed = std::get_if<node_out::LoadFailed>(&effect)) {
    setup_.load_failed(failed->error);
  } else {
    setup_.stopped();
  }
}

void SupervisorActor::share(const node_out::Share& share) {
  const auto fail = [&](Error error) {
    // After the effects of this step: it is the answer to one of them.
    caf::anon_send(
        caf::actor_cast<caf::actor>(this),
        local(NodeInput(node_in::ShareFailed{share.group, share.generation, std::move(error)})));
  };
  auto made = ShmMap::create(static_cast<int>(share.ranks.size()), share.generation.value);
  if (!made) {
    fail(made.error());
    return;
  }
  shared_[share.group] = *made;
  for (const node_out::Share::Rank& rank : share.ranks) {
    FileDescriptor memory(::fcntl((*made)->descriptor(), F_DUPFD_CLOEXEC, 0));
    if (!memory) {
      fail({ErrorCode::unavailable,
            "no descriptor is left for the memory that ranks share; allow the node more of them",
            {}});
      return;
    }
    setup_.share({rank.child, rank.incarnation, share.group, share.generation, std::move(memory)});
  }
}

void SupervisorActor::unshare(const node_out::Unshare& over) {
  auto at = shared_.find(over.group);
  if (at == shared_.end()) return;  // it could not be made
  set_abort(*at->second, over.generation.value);
  shared_.erase(at);
}

std::vector<ActorStatus> SupervisorActor::own_rows() {
  ActorStatus own;
  own.id = setup_.machine.node + "/supervisor";
  own.role = Role::supervisor;
  own.pid = ::getpid();
  own.state = machine_.draining() ? "draining" : "ready";
  own.mailbox_depth = mailbox().size();
  own.mailbox_age = second_.lateness();
  ActorStatus health = own;
  health.id = health_report_.id;
  health.role = Role::health;
  health.restarts = health_report_.restarts;
  health.last_error = health_report_.last_error;
  health.mailbox_depth = health_report_.mailbox_depth;
  health.mailbox_age = health_report_.mailbox_age;
  return {std::move(own), std::move(health)};
}

void SupervisorActor::publish_tree() {
  NodeTree tree;
  tree.name = setup_.machine.node;
  tree.incarnation = setup_.machine.incarnation;
  tree.actors = own_rows();
  for (ActorStatus& row : machine_.tree()) tree.actors.push_back(std::move(row));
  tree.state = machine_.state();
  tree.reason = machine_.peers().remark();
  if (const ProcessReport* link =
          machine_.membership().current_report(setup_.machine.node + "/link"))
    tree.link = link->link;
  std::vector<NodeTree> all;
  std::vector<PeerView> views = machine_.peers().views();
  for (const std::string& name : setup_.nodes) {
    if (name == tree.name) all.push_back(tree);
    for (PeerView& view : views)
      if (view.node == name)
        all.push_back({.name = view.node,
                       .incarnation = view.incarnation,
                       .state = view.state,
                       .actors = std::move(view.actors),
                       .reason = view.reason,
                       .config_differs = view.config_differs});
  }
  if (all.empty()) all = {tree};
  setup_.tree->set(std::move(tree), std::move(all));
}

}  // namespace troupe
