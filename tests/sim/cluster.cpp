#include <algorithm>

#include "tests/sim/clients.h"
#include "tests/sim/hosts.h"

namespace troupe::sim {

namespace {
template <class Host>
std::vector<std::shared_ptr<Host>> alive_children(const Site& site) {
  std::vector<std::shared_ptr<Host>> found;
  if (!site.alive()) return found;
  for (const auto& [name, child] : site.node->children) {
    auto host = std::dynamic_pointer_cast<Host>(child.process);
    if (host && host->alive) found.push_back(host);
  }
  return found;
}

template <class Host>
std::vector<std::shared_ptr<Host>> all_children(const std::deque<Site>& sites) {
  std::vector<std::shared_ptr<Host>> found;
  for (const Site& site : sites) {
    const auto some = alive_children<Host>(site);
    found.insert(found.end(), some.begin(), some.end());
  }
  return found;
}
}  // namespace

bool Site::alive() const { return node && node->alive; }

Cluster::~Cluster() {
  for (Site& site : sites) {
    if (!site.node) continue;
    // What waits for a process that is stopped may hold that process.
    for (auto& [name, child] : site.node->children) child.process->held.clear();
    site.node->held.clear();
    site.node->children.clear();
    site.node->peer_links.clear();
  }
}

void Cluster::start_node(Site& site) {
  NodeSupervisorConfig c = site.config;
  c.incarnation = Incarnation(world.fresh_id());
  std::ranges::generate(c.rank_secret, [this] { return static_cast<uint8_t>(world.fresh_id()); });
  site.node = std::make_shared<NodeHost>(*this, site, c);
  site.deaths.clear();
  world.trace(site.config.node, "starts");
  world.post(site.node, Duration{}, [n = site.node] { n->input(node_in::Start{}); });
  if (several()) site.node->beat_nodes();
}

void Cluster::kill_node(Site& site, World::Death how, Duration back_after) {
  const auto dying = site.node;
  std::set<Incarnation> dead;
  const Orphaned orphaned = orphaned_by(site.config.node);
  ++node_deaths;
  world.die(dying, how);
  for (auto& [name, child] : dying->children) {
    if (child.process->alive) dead.insert(child.process->incarnation);
    // PDEATHSIG: within a moment, whether stopped or not.
    world.at(world.now() + world.between(0us, 2ms), [this, how, process = child.process] {
      if (!process->alive) return;
      clients.lost(*process);
      world.die(process, how);
    });
  }
  if (how == World::Death::closes)
    world.at(world.now() + 2ms, [this, host = site.host] { link_died(host); });
  else
    world.thaw(site.host);
  world.at(world.now() + 100ms, [dying] {
    dying->children.clear();
    dying->peer_links.clear();
  });
  const Time died = world.now();
  world.at(died + kDeadAfter + 20ms,
           [this, &site, dead, orphaned, died] { check_left(site, dead, orphaned, died); });
  world.at(died + back_after, [this, &site] { start_node(site); });
}

namespace {
bool has_rank(const HeadedGroup& group, const std::string& node) {
  return std::ranges::find(group.nodes, node) != group.nodes.end();
}
}  // namespace

size_t Cluster::groups_with(const std::string& node) const {
  size_t all = 0;
  for (const Site& site : sites)
    for (const HeadedGroup& group : site.config.groups) all += has_rank(group, node) ? 1 : 0;
  return all;
}

Cluster::Orphaned Cluster::orphaned_by(const std::string& node) const {
  Orphaned all;
  for (const Site& site : sites) {
    if (!site.alive() || site.config.node == node) continue;
    for (size_t i = 0; i < site.config.groups.size(); ++i) {
      const GroupEndpoint& group = site.node->machine.routing().groups[i];
      if (has_rank(site.config.groups[i], node))
        all.push_back({site.node->incarnation, group.group, group.generation});
    }
  }
  return all;
}

/// A dead node's groups, and those that it had a rank of, leave routing in time, wherever nothing
/// stood in the way of noticing.
void Cluster::check_left(Site& site, const std::set<Incarnation>& dead, const Orphaned& orphaned,
                         Time died) const {
  if (world.ways_changed() > died - 1s) return;  // what was held counts as heard later
  for (const Site& other : sites) {
    if (&other == &site || !other.alive()) continue;
    // One that slept doubts its own clock first.
    const Time slept = other.node->stopped_since;
    if (slept != Time{} && slept > died - 5s) continue;
    for (const GroupEndpoint& group : other.node->machine.routing().groups)
      world.expect(!dead.contains(group.incarnation) || group.state == GroupState::stopped,
                   "{} still routes to group {} of {}, dead for {} ms", other.config.node,
                   group.group.value, site.config.node, to_ms(world.now() - died));
    // Its head has to tell: only its own word counts.
    for (size_t i = 0; i < other.config.groups.size(); ++i) {
      const GroupEndpoint& group = other.node->machine.routing().groups[i];
      const bool serves = group.state == GroupState::ready || group.state == GroupState::suspect;
      const bool lost = std::ranges::find(orphaned, Orphan{other.node->incarnation, group.group,
                                                           group.generation}) != orphaned.end();
      world.expect(!serves || !lost, "{} still serves group {} {} ms after its rank died with {}",
                   other.config.node, group.group.value, to_ms(world.now() - died),
                   site.config.node);
    }
  }
}

Site& Cluster::site_of(const std::string& node) {
  return *std::ranges::find_if(sites, [&](const Site& s) { return s.config.node == node; });
}

const Site& Cluster::site_of(const std::string& node) const {
  return *std::ranges::find_if(sites, [&](const Site& s) { return s.config.node == node; });
}

size_t Cluster::groups() const {
  size_t all = 0;
  for (const Site& site : sites) all += site.config.groups.size();
  return all;
}

std::vector<std::shared_ptr<RouterHost>> Cluster::routers() const {
  return all_children<RouterHost>(sites);
}

std::vector<std::shared_ptr<ShardHost>> Cluster::shards() const {
  return all_children<ShardHost>(sites);
}

bool Cluster::carries(int host) const {
  const auto links = alive_children<LinkHost>(sites[static_cast<size_t>(host)]);
  return !links.empty() && links.front()->node_link;
}

bool Cluster::reachable(int from, int to) const {
  return from == to ||
         (world.is_open(from, to) && world.is_open(to, from) && carries(from) && carries(to));
}

void Cluster::link_died(int host) {
  for (const Site& other : sites)
    if (other.host != host) world.close_streams(host, other.host);
  world.thaw(host);
}

std::string Cluster::unformed() const {
  for (const Site& site : sites) {
    if (!site.alive()) return site.config.node + " is dead";
    if (alive_children<ChildHost>(site).size() != site.config.children.size())
      return "a child process of " + site.config.node + " is missing";
    for (const PeerView& peer : site.node->machine.peers().views()) {
      if (peer.state != "ready")
        return fmt::format("{} sees {} as {}: {}", site.config.node, peer.node, peer.state,
                           peer.reason);
      if (peer.actors.size() != site_of(peer.node).config.children.size())
        return fmt::format("{} sees {} actors of {}", site.config.node, peer.actors.size(),
                           peer.node);
    }
  }
  for (const auto& router : routers()) {
    const auto models = router->machine.readiness(world.now(), {}).models;
    if (models.empty()) return router->name + " has no routing table";
    for (const ModelReadiness& model : models) {
      if (model.groups_ready < model.groups)
        return fmt::format("{} sees: {}", router->name, model.reason);
    }
    if (router->links.size() != groups()) return router->name + " lacks a link";
  }
  for (const auto& shard : shards())
    if (!shard->serving) return shard->name + " has not loaded";
  return {};
}

std::map<std::string, uint64_t> Cluster::lives() const {
  std::map<std::string, uint64_t> all;
  for (const Site& site : sites) {
    all[site.config.node] = site.node->incarnation.value;
    for (const auto& [name, child] : site.node->children)
      if (child.process->alive && !std::dynamic_pointer_cast<LinkHost>(child.process))
        all[name] = child.process->incarnation.value;
    for (size_t i = 0; i < site.config.groups.size(); ++i) {
      const GroupEndpoint& group = site.node->machine.routing().groups[i];
      all[fmt::format("group {}", group.group.value)] = group.generation.value;
    }
  }
  return all;
}

std::string Cluster::unrest() const {
  if (std::string why = unformed(); !why.empty()) return why;
  for (const auto& router : routers()) {
    const RouterStats stats = router->machine.stats();
    if (stats.queued + stats.running > 0) {
      return fmt::format("{} has {} queued, {} running", router->name, stats.queued, stats.running);
    }
  }
  for (const auto& shard : shards()) {
    if (!shard->batcher) continue;
    const GroupStatus status = shard->batcher->status(world.now());
    if (status.queued + status.running + status.blocks_used > 0) {
      return fmt::format("{} has {} queued, {} running, {} blocks", shard->name, status.queued,
                         status.running, status.blocks_used);
    }
  }
  return {};
}

}  // namespace troupe::sim
