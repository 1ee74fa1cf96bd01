#include <algorithm>

#include "tests/sim/clients.h"
#include "tests/sim/hosts.h"

namespace troupe::sim {

// -- the cluster
// ---------------------------------------------------------------------------------------------------

Cluster::~Cluster() {
  if (node) node->children.clear();
}

void Cluster::start_node() {
  NodeSupervisorConfig c = config;
  c.incarnation = Incarnation(world.fresh_id());
  node = std::make_shared<NodeHost>(*this, c.incarnation, c);
  deaths.clear();
  world.post(node, Duration{}, [n = node] { n->input(node_in::Start{}); });
}

void Cluster::kill_node() {
  const auto dying = node;
  world.die(dying);
  for (auto& [name, child] : dying->children) {
    // PDEATHSIG: within a moment, whether stopped or not.
    world.at(world.now() + world.between(0us, 2ms), [this, process = child.process] {
      clients.lost(*process);
      world.die(process);
    });
  }
  world.at(world.now() + 100ms, [dying] { dying->children.clear(); });
  world.at(world.now() + 500ms, [this] { start_node(); });
}

std::vector<std::shared_ptr<RouterHost>> Cluster::routers() const {
  std::vector<std::shared_ptr<RouterHost>> found;
  for (auto& [name, child] : node->children) {
    auto router = std::dynamic_pointer_cast<RouterHost>(child.process);
    if (router && router->alive) found.push_back(router);
  }
  return found;
}

std::vector<std::shared_ptr<ShardHost>> Cluster::shards() const {
  std::vector<std::shared_ptr<ShardHost>> found;
  for (auto& [name, child] : node->children) {
    auto shard = std::dynamic_pointer_cast<ShardHost>(child.process);
    if (shard && shard->alive) found.push_back(shard);
  }
  return found;
}

std::string Cluster::unrest() const {
  if (!node->alive) return "the node is dead";
  if (routers().size() + shards().size() != config.children.size())
    return "a child process is missing";
  for (const auto& router : routers()) {
    const auto models = router->machine.readiness(world.now(), {}).models;
    if (models.empty()) return router->name + " has no routing table";
    for (const ModelReadiness& model : models) {
      if (model.groups_ready < model.groups)
        return fmt::format("{} sees: {}", router->name, model.reason);
    }
    if (router->links.size() != config.groups.size()) return router->name + " lacks a link";
    const RouterStats stats = router->machine.stats();
    if (stats.queued + stats.running > 0) {
      return fmt::format("{} has {} queued, {} running", router->name, stats.queued, stats.running);
    }
  }
  for (const auto& shard : shards()) {
    if (!shard->batcher) return shard->name + " has not loaded";
    const GroupStatus status = shard->batcher->status(world.now());
    if (status.queued + status.running + status.blocks_used > 0) {
      return fmt::format("{} has {} queued, {} running, {} blocks", shard->name, status.queued,
                         status.running, status.blocks_used);
    }
  }
  return {};
}

// -- the node's process
// ---------------------------------------------------------------------------------------------

NodeHost::NodeHost(Cluster& c, Incarnation i, NodeSupervisorConfig config)
    : Process(c.world, config.node, i),
      cluster(c),
      machine(config),
      detector(config.limits.timing_scale) {}

void NodeHost::resumed(Duration pause) { detect(detector_in::OwnLag{pause}); }

void NodeHost::input(const NodeInput& in) {
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
  } else if (const auto* watch = std::get_if<node_out::Watch>(&effect)) {
    detect(detector_in::Watch{watch->child, watch->incarnation, false});
  } else if (const auto* forget = std::get_if<node_out::Forget>(&effect)) {
    detect(detector_in::Forget{forget->child, forget->incarnation});
  } else if (const auto* event = std::get_if<node_out::Event>(&effect)) {
    world.trace(name, "{} {} {}", event->what, event->child, event->detail);
  } else if (std::holds_alternative<node_out::Stopped>(effect)) {
    cluster.node_stopped = true;
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
    ++cluster.deaths[process->name];
    cluster.clients.lost(*process);
    world.die(process);
    world.post(self, world.between(0us, 20ms), [this, process] {
      input(node_in::Exited{process->name, process->incarnation, "signal 9 (SIGKILL)"});
    });
  });
}

// -- children
// --------------------------------------------------------------------------------------------------------

ChildHost::ChildHost(Cluster& c, std::shared_ptr<NodeHost> p, ChildSpec s, Incarnation i)
    : Process(c.world, s.name, i), cluster(c), parent(std::move(p)), spec(std::move(s)) {}

void ChildHost::start() {
  if (!parent->alive) return;
  node_link = world.connect(
      // A child that cannot be told anything ends itself.
      shared_from_this(), parent, [this] { parent->end(name, incarnation, 1ms); },
      [node = parent.get(), n = name, i = incarnation] {
        node->input(node_in::LinkLost{n, i});
      });
  parent->children[name].link = node_link;
  const NodeSupervisorConfig& c = cluster.config;
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
