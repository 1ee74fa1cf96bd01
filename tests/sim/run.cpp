#include "tests/sim/run.h"

#include <algorithm>

#include "tests/sim/hosts.h"

namespace troupe::sim {

namespace {

/// Nodes that start together know of each other by then.
constexpr Duration kForms = 1500ms;
constexpr Duration kFaultsLast = 3500ms;

NodeSupervisorConfig node_config(int host, int32_t routers) {
  NodeSupervisorConfig c;
  c.cluster = "sim";
  c.node = fmt::format("n{}", host + 1);
  c.build = "b1";
  c.wire_version = 2;
  for (int32_t i = 0; i < routers; ++i) {
    c.children.push_back({.name = fmt::format("{}/router{}", c.node, i), .role = Role::router});
  }
  return c;
}

/// By rank the host; ranks of a host are neighbours.
std::vector<size_t> place_ranks(World& world, size_t hosts) {
  const size_t head = world.below(hosts);
  const bool spreads = hosts > 1 && world.chance(0.3);
  const int32_t ranks = spreads || world.chance(0.25) ? world.pick(2, 3) : 1;
  std::vector<size_t> at(static_cast<size_t>(ranks), head);
  if (!spreads) return at;
  const size_t away = 1 + world.below(at.size() - 1);
  std::fill(at.begin() + static_cast<long>(away), at.end(), (head + 1) % hosts);
  if (at.size() - away > 1 && hosts > 2 && world.chance(0.5)) at.back() = (head + 2) % hosts;
  return at;
}

void add_group(World& world, Cluster& cluster, uint32_t index, const std::vector<size_t>& hosts) {
  const GroupId group(index);
  const auto ranks = static_cast<int32_t>(hosts.size());
  NodeSupervisorConfig& head = cluster.sites[hosts.front()].config;
  const bool pipeline = ranks > 1 && world.chance(0.4);
  HeadedGroup headed{.order = {.group = group,
                               .model = "oracle",
                               .tensor_parallel = pipeline ? 1 : ranks,
                               .pipeline_parallel = pipeline ? ranks : 1},
                     .ranks = ranks,
                     .socket = "s",
                     .nodes = {}};
  for (int32_t rank = 0; rank < ranks; ++rank) {
    NodeSupervisorConfig& c = cluster.sites[hosts[static_cast<size_t>(rank)]].config;
    headed.nodes.push_back(c.node);
    c.children.push_back({.name = fmt::format("{}/shard/oracle.{}.{}", c.node, index, rank),
                          .role = Role::shard,
                          .group = group,
                          .rank = rank});
    const bool lends = c.node != head.node && (c.lent.empty() || c.lent.back().group != group);
    if (lends) c.lent.push_back({.group = group, .model = "oracle", .head = head.node});
  }
  head.groups.push_back(std::move(headed));
}

void lay_out(World& world, Cluster& cluster, int nodes) {
  const auto add = [&](int32_t routers) {
    Site& site = cluster.sites.emplace_back();
    site.host = static_cast<int>(cluster.sites.size()) - 1;
    site.config = node_config(site.host, routers);
  };
  if (nodes == 1) {
    add(world.pick(1, 2));
  } else {
    const uint64_t routes = world.below(static_cast<uint64_t>(nodes));  // at least one does
    for (int i = 0; i < nodes; ++i) {
      add(static_cast<uint64_t>(i) == routes || world.chance(0.5) ? 1 : 0);
      NodeSupervisorConfig& c = cluster.sites.back().config;
      c.children.push_back({.name = c.node + "/link", .role = Role::link});
    }
  }
  const int32_t groups = world.pick(1, nodes == 1 ? 3 : 4);
  for (int32_t i = 0; i < groups; ++i)
    add_group(world, cluster, static_cast<uint32_t>(i), place_ranks(world, cluster.sites.size()));
  for (Site& site : cluster.sites) {
    for (const Site& other : cluster.sites) {
      if (&other == &site) continue;
      PeerSpec& peer = site.config.peers.emplace_back();
      peer.node = other.config.node;
      for (const HeadedGroup& group : other.config.groups)
        peer.groups.push_back({group.order.group, group.order.model, "door"});
    }
  }
}

BatcherConfig batcher_config(World& world) {
  BatcherConfig c;
  c.kv_blocks = world.chance(0.5) ? world.pick(10, 16) : 64;
  c.max_rows = world.pick(8, 64);
  c.max_slots = world.pick(3, 12);
  c.prefill_chunk = world.pick(4, 32);
  c.context = 120;
  c.queue_max = world.chance(0.2) ? world.pick(2, 4) : 64;
  c.canary_interval = 2s;
  c.lanes = world.chance(0.5) ? 1 : world.pick(2, 4);
  return c;
}

Faults draw_faults(World& world, bool several) {
  Faults f;
  const auto maybe = [&](auto value) { return world.chance(0.4) ? value : decltype(value){}; };
  f.drop = maybe(0.02);
  f.duplicate = maybe(0.05);
  f.journal_drop = maybe(0.05);
  f.stop_after_send = maybe(0.002);
  f.hang = maybe(0.005);
  f.step_error = maybe(0.003);
  f.nonfinite = maybe(0.003);
  f.load_failure = maybe(0.2);
  f.spawn_failure = maybe(0.2);
  f.cache_loss = maybe(0.3);
  f.kill_every = maybe(Duration(1500ms));
  f.stop_every = maybe(Duration(800ms));
  f.cut_every = maybe(Duration(900ms));
  f.restart_every = maybe(Duration(2s));
  if (several) {
    f.node_every = maybe(Duration(2s));
    f.way_every = maybe(Duration(1s));
    f.node_hang_every = maybe(Duration(2s));
  } else {
    f.node_dies = world.chance(0.1);
  }
  return f;
}

class Run {
 public:
  explicit Run(const RunOptions& options)
      : world_(options.seed, options.tracing),
        clients_(world_),
        cluster_(world_, clients_, options.tamper ? *options.tamper : honest_) {
    lay_out(world_, cluster_, several_nodes(options.seed) ? world_.pick(2, 4) : 1);
    cluster_.batcher = batcher_config(world_);
    world_.delay_max = world_.between(200us, 5ms);
    clients_.calm =
        world_.chance(0.15) && options.tamper == nullptr && cluster_.batcher.queue_max >= 64;
    cluster_.only = options.only;
    if (options.only != Only::anything) {
      clients_.calm = false;
      (options.only == Only::hangs ? planned_.node_hang_every : planned_.link_every) = 1s;
    } else if (!clients_.calm) {
      planned_ = draw_faults(world_, cluster_.several());
    }
    drains_ = world_.chance(0.25);
    faults_begin_ = world_.now() + (cluster_.several() ? kForms : 500ms);
    faults_end_ = faults_begin_ + kFaultsLast;
  }

  RunResult run() {
    start();
    world_.at(faults_begin_, [this] { begin_faults(); });
    world_.at(faults_end_, [this] { end_faults(); });
    load(all_well() ? faults_begin_ : world_.now() + 200ms);
    watch();
    // A stopped process that was told to end is killed only then.
    until(faults_end_ + kAbortDeadline + 100ms, [] { return false; });
    // Everything heals: groups, routers, and every request has its end.
    until(faults_end_ + 60s, [this] { return clients_.all_ended() && cluster_.at_rest(); });
    expect(clients_.all_ended(), "a request still has no end 60 s after the last fault");
    if (sound() && !cluster_.at_rest()) {
      world_.violation("60 s after the last fault: " + cluster_.unrest());
    }
    if (!before_.empty() && cluster_.only == Only::links)
      expect(cluster_.lives() == before_, "more than link processes began anew");
    probe();
    if (drains_) drain();
    RunResult result{world_.first_violation(), clients_.totals, world_.events()};
    for (const Site& site : cluster_.sites) {
      for (const auto& [name, deaths] : site.deaths) {
        result.deaths += deaths;
        if (name.ends_with("/link") && !drains_) result.link_deaths += deaths;
      }
    }
    result.drains = drains_ ? 1 : 0;
    result.nodes = static_cast<int>(cluster_.sites.size());
    result.node_deaths = cluster_.node_deaths;
    result.meetings = cluster_.mesh.meetings();
    result.hangs = cluster_.hangs;
    return result;
  }

 private:
  bool sound() const { return world_.first_violation().empty(); }
  void expect(bool holds, const char* what) {
    if (sound() && !holds) world_.violation(what);
  }
  template <class Done>
  void until(Time end, Done&& done) {
    // Looking costs more than an event.
    for (Time look{}; sound() && world_.now() < end;) {
      if (world_.now() >= look) {
        if (done()) return;
        look = world_.now() + 5ms;
      }
      if (!world_.run_event()) return;
      if (world_.events() > 2'000'000) world_.violation("more events than any run needs");
    }
  }

  /// Until the first fault, if there is to be one.
  bool all_well() const { return clients_.calm || cluster_.only != Only::anything; }
  void start() {
    for (Site& site : cluster_.sites) {
      // In any order; without faults they come together.
      const bool late = cluster_.several() && !all_well() && world_.chance(0.3);
      const Duration after = late ? world_.between(100ms, 4s) : world_.between(0ms, 50ms);
      if (!cluster_.several())
        cluster_.start_node(site);
      else
        world_.at(world_.now() + after, [this, &site] { cluster_.start_node(site); });
    }
    if (!cluster_.several() || !all_well()) return;
    world_.at(faults_begin_, [this] {
      world_.expect(cluster_.formed(), "{} ms after the start: {}", to_ms(kForms),
                    cluster_.unformed());
    });
  }

  void load(Time from) {
    const Duration gap = world_.between(20ms, 150ms);
    for (Time t = from; t < faults_end_ - 30ms; t += gap) {
      world_.at(t + world_.between(0ms, 30ms), [this] { clients_.ask(cluster_, false); });
    }
  }

  void watch() {
    clients_.check_overdue();
    world_.at(world_.now() + 500ms, [this] { watch(); });
  }

  // -- nemesis --
  void every(Duration mean, void (Run::*what)()) {
    if (mean == Duration{}) return;
    world_.at(world_.now() + world_.between(mean / 4, 2 * mean), [this, mean, what] {
      if (world_.now() >= faults_end_) return;
      (this->*what)();
      every(mean, what);
    });
  }
  void begin_faults() {
    world_.faults = planned_;
    every(planned_.kill_every, &Run::kill_one);
    every(planned_.stop_every, &Run::stop_one);
    every(planned_.cut_every, &Run::cut_one);
    every(planned_.restart_every, &Run::restart_one);
    every(planned_.node_every, &Run::kill_node);
    every(planned_.way_every, &Run::shut_way);
    every(planned_.node_hang_every, &Run::hang_node);
    every(planned_.link_every, &Run::kill_link);
    if (planned_.node_dies) {
      world_.at(world_.now() + world_.between(100ms, 3s), [this] {
        cluster_.kill_node(cluster_.sites.front(), World::Death::closes, 500ms);
      });
    }
  }
  void end_faults() {
    world_.trace("nemesis", "the faults have stopped");
    world_.faults = Faults{};
    world_.open_all();
    for (Site& site : cluster_.sites) {
      if (!site.alive()) continue;
      world_.resume(site.node);
      for (auto& [name, child] : std::map(site.node->children)) world_.resume(child.process);
    }
  }
  Site& any_site() { return cluster_.sites[world_.below(cluster_.sites.size())]; }
  ProcessPtr any_child(const Site& site) {
    if (!site.alive() || site.node->children.empty()) return nullptr;
    auto& children = site.node->children;
    auto at = children.begin();
    std::advance(at, static_cast<long>(world_.below(children.size())));
    return at->second.process->alive ? at->second.process : nullptr;
  }
  void kill_one() {
    // The restart budget is five: one who died twice may still fail to load or hang by chance.
    Site& site = any_site();
    const ProcessPtr child = any_child(site);
    if (!child || site.deaths[child->name] >= 2) return;
    site.node->end(child->name, child->incarnation, Duration{});
  }
  void kill_link() {
    Site& site = any_site();
    const std::string link = site.config.node + "/link";
    if (!site.alive() || site.deaths[link] >= 2) return;
    const auto at = site.node->children.find(link);
    if (at == site.node->children.end() || !at->second.process->alive) return;
    if (before_.empty()) before_ = cluster_.lives();
    site.node->end(link, at->second.process->incarnation, Duration{});
  }
  void kill_node() {
    Site& site = any_site();
    if (!site.alive()) return;
    cluster_.kill_node(site, world_.chance(0.5) ? World::Death::closes : World::Death::vanishes,
                       world_.between(100ms, 4s));
  }
  void hang_node() {
    Site& site = any_site();
    if (site.alive())
      site.node->hang(world_.chance(0.2) ? world_.between(20ms, 700ms)
                                         : world_.between(1100ms, 3s));
  }
  /// Between two hosts, in one direction or both; what is sent meanwhile arrives in the end.
  void shut_way() {
    const int a = any_site().host, b = any_site().host;
    if (a == b) return;
    const bool both = world_.chance(0.5);
    const Duration lasts =
        world_.chance(0.5) ? world_.between(10ms, 1s) : world_.between(1500ms, 4s);
    world_.shut(a, b);
    if (both) world_.shut(b, a);
    world_.at(world_.now() + lasts, [this, a, b] {
      world_.open(a, b);
      world_.open(b, a);
    });
  }
  void stop_one() {
    Site& site = any_site();
    const ProcessPtr child = world_.chance(0.2) ? ProcessPtr(site.node) : any_child(site);
    if (!child || !child->alive) return;
    world_.stop(child, world_.chance(0.2) ? world_.between(2s, 4s) : world_.between(5ms, 700ms));
  }
  void cut_one() {
    const auto links = world_.open_links();
    if (!links.empty()) world_.cut(links[world_.below(links.size())]);
  }
  void restart_one() {
    Site& site = any_site();
    const ProcessPtr child = any_child(site);
    if (child && world_.now() >= site.node->stopped_until)
      site.node->input(node_in::Restart{child->name});
  }

  // -- after the faults --
  void probe() {
    if (!sound()) return;
    const uint64_t before = clients_.totals.complete, asked = clients_.totals.asked;
    for (int i = 0; i < 3; ++i) clients_.ask(cluster_, true);
    until(world_.now() + 10s, [this] { return clients_.all_ended() && cluster_.at_rest(); });
    expect(clients_.totals.asked == asked + 3 && clients_.totals.complete == before + 3,
           "a healed cluster did not answer");
    if (sound() && !cluster_.at_rest()) world_.violation("nobody asks, but " + cluster_.unrest());
  }
  void drain() {
    if (!sound()) return;
    // Of several, one that others can do without.
    Site& site = any_site();
    if (cluster_.several() && cluster_.groups_with(site.config.node) == cluster_.groups()) return;
    const uint64_t failed = clients_.totals.failed, lost = clients_.totals.lost;
    for (int i = 0; i < 3; ++i) clients_.ask(cluster_, true);
    world_.post(site.node, world_.between(1ms, 20ms),
                [node = site.node] { node->input(node_in::Drain{}); });
    until(world_.now() + 40s, [&] { return site.stopped && clients_.all_ended(); });
    expect(site.stopped, "the node did not end within its drain");
    expect(clients_.totals.failed == failed && clients_.totals.lost == lost,
           "a drain lost a request");
  }

  Tamper honest_;
  World world_;
  Clients clients_;
  Cluster cluster_;
  Faults planned_;
  Time faults_begin_{}, faults_end_{};
  bool drains_ = false;
  std::map<std::string, uint64_t> before_;  ///< the lives of all, when the first link was killed
};

}  // namespace

RunResult run(const RunOptions& options) { return Run(options).run(); }

}  // namespace troupe::sim
