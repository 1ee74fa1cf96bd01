#include <algorithm>

#include "tests/sim/clients.h"
#include "tests/sim/hosts.h"

namespace troupe::sim {

// -- the node's process
// ---------------------------------------------------------------------------------------------

NodeHost::NodeHost(Cluster& c, Site& s, NodeSupervisorConfig config)
    : Process(c.world, config.node, config.incarnation),
      cluster(c),
      site(s),
      machine(config),
      detector(config.limits.timing_scale) {
  host = s.host;
}

void NodeHost::resumed(Duration pause) {
  hangs = false;
  detect(detector_in::OwnLag{pause});
}

void NodeHost::input(NodeInput in) {
  cluster.tamper.to_node(name, in);
  NodeEffects effects;
  machine.step(world.now(), in, effects);
  machine.check();
  note_journal(in, effects);
  cluster.tamper.from_node(effects);
  perform(std::move(effects));
  arm();
}

void NodeHost::note_journal(const NodeInput& in, const NodeEffects& effects) {
  const auto* from = std::get_if<node_in::FromChild>(&in);
  const auto* append = from ? std::get_if<JournalAppend>(&from->message) : nullptr;
  if (append == nullptr) return;
  const bool stored = std::ranges::any_of(effects, [&](const NodeEffect& e) {
    const auto* to = std::get_if<node_out::ToChild>(&e);
    const auto* ack = to ? std::get_if<JournalAck>(&to->message) : nullptr;
    return ack && ack->number >= append->number;
  });
  if (!stored) return;
  for (const JournalTokens& tokens : append->tokens) {
    size_t& known = cluster.journalled[tokens.key];
    known = std::max(known, static_cast<size_t>(tokens.seq) + tokens.tokens.size());
  }
}

void NodeHost::detect(const DetectorInput& in) {
  std::vector<DetectorEffect> effects;
  detector.step(world.now(), in, effects);
  detector.check();
  for (const DetectorEffect& e : effects) {
    world.trace(name, "{} is {}", e.peer, name_of(e.verdict));
    world.expect(!cluster.clients.calm || e.verdict != Verdict::dead,
                 "{} was found dead without any fault", e.peer);
    world.expect(cluster.only == Only::anything || e.verdict != Verdict::dead,
                 "{} was found dead though nothing kept its beats away for long", e.peer);
    input(node_in::Judged{e.peer, e.incarnation, e.verdict});
  }
  arm_timer(*this, detector_timer, detector.deadline(), [this] { detect(detector_in::Tick{}); });
}

void NodeHost::arm() {
  arm_timer(*this, timer, machine.deadline(), [this] { input(node_in::Tick{}); });
}

void NodeHost::perform(NodeEffects effects) {
  for (size_t i = 0; i < effects.size(); ++i) {
    perform_one(effects[i]);
    if (world.chance(world.faults.stop_after_send) && i + 1 < effects.size()) {
      world.stop(shared_from_this(), world.between(1ms, 300ms));
      held.push_front([this, rest = NodeEffects(effects.begin() + static_cast<long>(i) + 1,
                                                effects.end())] { perform(rest); });
      return;
    }
  }
}

void NodeHost::perform_one(const NodeEffect& effect) {
  if (const auto* spawned = std::get_if<node_out::Spawn>(&effect)) {
    spawn(spawned->child);
  } else if (const auto* ended = std::get_if<node_out::End>(&effect)) {
    end(ended->child, ended->incarnation, ended->force ? 1ms : world.between(1ms, 50ms));
  } else if (const auto* to = std::get_if<node_out::ToChild>(&effect)) {
    auto child = children.find(to->child);
    if (child == children.end() || child->second.process->incarnation != to->incarnation ||
        !child->second.link) {
      return;
    }
    auto host = std::static_pointer_cast<ChildHost>(child->second.process);
    world.send(child->second.link, *this,
               [host, message = to->message] { host->from_node(message); });
  } else if (const auto* ranks = std::get_if<node_out::Share>(&effect)) {
    planes.share(*this, *ranks);
  } else if (const auto* over = std::get_if<node_out::Unshare>(&effect)) {
    planes.unshare(*this, *over);
  } else if (const auto* watch = std::get_if<node_out::Watch>(&effect)) {
    detect(detector_in::Watch{watch->child, watch->incarnation});
  } else if (const auto* forget = std::get_if<node_out::Forget>(&effect)) {
    detect(detector_in::Forget{forget->child, forget->incarnation});
  } else if (const auto* event = std::get_if<node_out::Event>(&effect)) {
    world.trace(name, "{} {} {}", event->what, event->child, event->detail);
  } else if (const auto* dialled_node = std::get_if<node_out::DialPeer>(&effect)) {
    dial(dialled_node->node);
  } else if (const auto* said = std::get_if<node_out::ToPeer>(&effect)) {
    say(*said);
  } else if (const auto* drop = std::get_if<node_out::DropPeer>(&effect)) {
    drop_links(drop->node, drop->link);
  } else if (const auto* cut = std::get_if<node_out::CutPeer>(&effect)) {
    drop_links(cut->node, {});
  } else if (const auto* beat = std::get_if<node_out::PeerBeat>(&effect)) {
    world.post(shared_from_this(), world.between(20us, 200us), [this, b = *beat] {
      detect(detector_in::Beat{b.node, b.incarnation});
    });
  } else if (std::holds_alternative<node_out::Stopped>(effect)) {
    site.stopped = true;
  }
}

void NodeHost::spawn(const ChildSpec& child) {
  world.post(shared_from_this(), world.between(2ms, 20ms), [this, child] {
    if (world.chance(world.faults.spawn_failure)) {
      return input(node_in::SpawnFailed{child.name, "out of processes"});
    }
    const Incarnation incarnation(world.fresh_id());
    auto self = shared_from_this();
    std::shared_ptr<ChildHost> process;
    if (child.role == Role::router) {
      process = std::make_shared<RouterHost>(cluster, self, child, incarnation);
    } else if (child.role == Role::link) {
      process = std::make_shared<LinkHost>(cluster, self, child, incarnation);
    } else {
      process = std::make_shared<ShardHost>(cluster, self, child, incarnation);
    }
    children[child.name] = Child{process, nullptr};
    input(node_in::Spawned{child.name, incarnation, static_cast<int64_t>(world.events())});
    world.post(process, world.between(5ms, 50ms), [process] { process->start(); });
  });
}

void NodeHost::end(const std::string& child, Incarnation incarnation, Duration after) {
  auto at = children.find(child);
  if (at == children.end() || at->second.process->incarnation != incarnation) return;
  // A stopped process cannot end by itself: SIGKILL follows.
  const auto process = at->second.process;
  const bool stopped = world.now() < process->stopped_until;
  const Duration wait = stopped && after > 1ms ? Duration(kAbortDeadline) : after;
  world.at(world.now() + wait, [this, self = shared_from_this(), process] {
    if (!process->alive) return;
    ++site.deaths[process->name];
    cluster.clients.lost(*process);
    world.die(process);
    if (std::dynamic_pointer_cast<LinkHost>(process)) cluster.link_died(host);
    world.post(self, world.between(0us, 20ms), [this, process] {
      input(node_in::Exited{process->name, process->incarnation, "signal 9 (SIGKILL)"});
    });
  });
}

// -- children
// --------------------------------------------------------------------------------------------------------

ChildHost::ChildHost(Cluster& c, std::shared_ptr<NodeHost> p, ChildSpec s, Incarnation i)
    : Process(c.world, s.name, i), cluster(c), parent(std::move(p)), spec(std::move(s)) {
  host = parent->host;
}

void ChildHost::start() {
  if (!parent->alive) return;
  node_link = world.connect(
      // A child that cannot be told anything ends itself.
      shared_from_this(), parent, [this] { parent->end(name, incarnation, 1ms); },
      [node = parent.get(), n = name, i = incarnation] {
        node->input(node_in::LinkLost{n, i});
      });
  parent->children[name].link = node_link;
  const NodeSupervisorConfig& c = parent->site.config;
  tell_node(Hello{c.cluster, c.wire_version, c.build, c.node, spec.role, name, incarnation,
                  c.config_digest});
  beat();
}

void ChildHost::beat() {
  // An own thread and connection: a hung lane does not stop it, SIGSTOP does.
  world.post(parent, world.between(20us, 500us), [node = parent.get(), n = name, i = incarnation] {
    node->detect(detector_in::Beat{n, i});
  });
  world.post(shared_from_this(), kBeatInterval, [this] { beat(); });
}

void ChildHost::tell_node(Message message) {
  world.send(node_link, *this,
             [node = parent.get(), n = name, i = incarnation, message = std::move(message)] {
               node->input(node_in::FromChild{n, i, message});
             });
}

}  // namespace troupe::sim
