#include "tests/sim/run.h"

#include "tests/sim/hosts.h"

namespace troupe::sim {

namespace {

constexpr Time kFaultsBegin{1500ms}, kFaultsEnd{5s};

NodeSupervisorConfig node_config(World& world) {
  NodeSupervisorConfig c;
  c.cluster = "sim";
  c.node = "n1";
  c.build = "b1";
  c.wire_version = 2;
  const int32_t routers = world.pick(1, 2), groups = world.pick(1, 3);
  for (int32_t i = 0; i < routers; ++i) {
    c.children.push_back({.name = fmt::format("n1/router{}", i), .role = Role::router});
  }
  for (int32_t i = 0; i < groups; ++i) {
    const GroupId group(static_cast<uint32_t>(i));
    c.children.push_back(
        {.name = fmt::format("n1/shard/oracle.{}.0", i), .role = Role::shard, .group = group});
    c.groups.push_back({.order = {.group = group, .model = "oracle"}, .ranks = 1, .socket = "s"});
  }
  return c;
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

Faults draw_faults(World& world) {
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
  f.node_dies = world.chance(0.1);
  return f;
}

class Run {
 public:
  explicit Run(const RunOptions& options)
      : world_(options.seed, options.tracing),
        clients_(world_),
        cluster_(world_, clients_, options.tamper ? *options.tamper : honest_) {
    cluster_.config = node_config(world_);
    cluster_.batcher = batcher_config(world_);
    world_.delay_max = world_.between(200us, 5ms);
    clients_.calm =
        world_.chance(0.15) && options.tamper == nullptr && cluster_.batcher.queue_max >= 64;
    if (!clients_.calm) planned_ = draw_faults(world_);
    drains_ = world_.chance(0.25);
  }

  RunResult run() {
    cluster_.start_node();
    world_.at(kFaultsBegin, [this] { begin_faults(); });
    world_.at(kFaultsEnd, [this] { end_faults(); });
    load(Time{1200ms});
    watch();
    // A stopped process that was told to end is killed only then.
    until(kFaultsEnd + kAbortDeadline + 100ms, [] { return false; });
    // Everything heals: groups, routers, and every request has its end.
    until(kFaultsEnd + 60s, [this] { return clients_.all_ended() && cluster_.at_rest(); });
    expect(clients_.all_ended(), "a request still has no end 60 s after the last fault");
    if (sound() && !cluster_.at_rest()) {
      world_.violation("60 s after the last fault: " + cluster_.unrest());
    }
    probe();
    if (drains_) drain();
    RunResult result{world_.first_violation(), clients_.totals, world_.events()};
    for (const auto& [name, deaths] : cluster_.deaths) result.deaths += deaths;
    result.drains = drains_ ? 1 : 0;
    return result;
  }

 private:
  bool sound() const { return world_.first_violation().empty(); }
  void expect(bool holds, const char* what) {
    if (sound() && !holds) world_.violation(what);
  }
  template <class Done>
  void until(Time end, Done&& done) {
    while (sound() && world_.now() < end && !done()) {
      if (!world_.run_event()) return;
      if (world_.events() > 2'000'000) world_.violation("more events than any run needs");
    }
  }

  void load(Time from) {
    const Duration gap = world_.between(20ms, 150ms);
    for (Time t = from; t < kFaultsEnd - 30ms; t += gap) {
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
      if (world_.now() >= kFaultsEnd) return;
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
    if (planned_.node_dies) {
      world_.at(world_.now() + world_.between(100ms, 3s), [this] { cluster_.kill_node(); });
    }
  }
  void end_faults() {
    world_.trace("nemesis", "the faults have stopped");
    world_.faults = Faults{};
    if (cluster_.node->alive) world_.resume(cluster_.node);
    for (auto& [name, child] : std::map(cluster_.node->children)) world_.resume(child.process);
  }
  ProcessPtr any_child() {
    auto& children = cluster_.node->children;
    if (!cluster_.node->alive || children.empty()) return nullptr;
    auto at = children.begin();
    std::advance(at, static_cast<long>(world_.below(children.size())));
    return at->second.process->alive ? at->second.process : nullptr;
  }
  void kill_one() {
    // The restart budget is five: one who died twice may still fail to load or hang by chance.
    const ProcessPtr child = any_child();
    if (!child || cluster_.deaths[child->name] >= 2) return;
    cluster_.node->end(child->name, child->incarnation, Duration{});
  }
  void stop_one() {
    const ProcessPtr child = world_.chance(0.2) ? ProcessPtr(cluster_.node) : any_child();
    if (!child || !child->alive) return;
    world_.stop(child, world_.chance(0.2) ? world_.between(2s, 4s) : world_.between(5ms, 700ms));
  }
  void cut_one() {
    const auto links = world_.open_links();
    if (!links.empty()) world_.cut(links[world_.below(links.size())]);
  }
  void restart_one() {
    const ProcessPtr child = any_child();
    if (child && world_.now() >= cluster_.node->stopped_until)
      cluster_.node->input(node_in::Restart{child->name});
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
    const uint64_t failed = clients_.totals.failed, lost = clients_.totals.lost;
    for (int i = 0; i < 3; ++i) clients_.ask(cluster_, true);
    world_.post(cluster_.node, world_.between(1ms, 20ms),
                [this] { cluster_.node->input(node_in::Drain{}); });
    until(world_.now() + 40s, [this] { return cluster_.node_stopped; });
    expect(cluster_.node_stopped, "the node did not end within its drain");
    expect(clients_.totals.failed == failed && clients_.totals.lost == lost,
           "a drain lost a request");
  }

  Tamper honest_;
  World world_;
  Clients clients_;
  Cluster cluster_;
  Faults planned_;
  bool drains_ = false;
};

}  // namespace

RunResult run(const RunOptions& options) { return Run(options).run(); }

}  // namespace troupe::sim
