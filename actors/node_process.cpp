#include "actors/node_process.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "actors/build_id.h"
#include "actors/link_plan.h"
#include "actors/spawner.h"
#include "actors/state_dir.h"
#include "actors/supervisor_actor.h"
#include "actors/system.h"
#include "actors/unix_basp.h"
#include "config/digest.h"
#include "net/admin_server.h"
#include "net/api_keys.h"
#include "net/certs_folder.h"
#include "net/json_writer.h"
#include "net/link_metrics.h"
#include "net/listener.h"
#include "net/node_beats.h"
#include "net/tls_filter.h"

namespace troupe {

namespace {

Incarnation draw_incarnation() {
  uint64_t value = 0;
  if (::getrandom(&value, sizeof value, 0) != sizeof value) std::abort();
  return Incarnation(value);
}

/// Keys for one purpose each, from the cluster's secret.
Digest derive(const Digest& secret, std::string_view purpose) {
  return hmac_sha256(std::as_bytes(std::span(secret)), std::as_bytes(std::span(purpose)));
}

struct Plan {
  NodeSupervisorConfig machine;
  std::map<std::string, ChildStart> starts;
  std::map<std::string, std::vector<int>> descriptors;
  std::map<std::string, std::string> addresses;  ///< of routers, for people
  std::map<std::string, std::string> doors;      ///< of nodes that this one dials
};

LoadOrder order_of(const ModelConfig& model, const NodeConfig& node, GroupId group,
                   const Limits& limits) {
  LoadOrder order;
  order.group = group;
  order.model = model.name;
  order.source = model.source;
  order.backend = model.backend;
  order.tensor_parallel = model.tensor_parallel;
  order.pipeline_parallel = model.pipeline_parallel;
  const auto cores = static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()));
  order.threads = model.threads > 0 ? model.threads : std::max(1, cores / node.cpu_slots);
  order.context = model.context;
  order.kv_memory = model.kv_memory;
  order.max_rows = model.max_batch_tokens;
  if (model.isa != "auto") order.isa = model.isa;
  order.kv_type = model.kv_dtype == "int8" ? KvType::int8 : KvType::f16;
  order.oracle_step = model.oracle_step;
  order.timing_scale = limits.timing_scale;
  order.queue_max = limits.batcher_queue;
  return order;
}

/// What would keep a router from starting, said here once instead of by each of its respawns.
Result<void> check_router_files(const ClusterConfig& config, const RouterListen& router) {
  if (!config.api_keys_file.empty())
    if (auto keys = ApiKeys::load(config.api_keys_file); !keys)
      return std::unexpected(keys.error());
  if (!router.tls_certificate.empty())
    if (auto tls = TlsContext::load(router.tls_certificate, router.tls_key); !tls)
      return std::unexpected(tls.error());
  return {};
}

/// The process that other hosts reach. The node binds its port, so that connections wait in the
/// backlog during a respawn.
Result<void> add_link(const NodeOptions& options, const StateDir& state, const ChildStart& base,
                      Plan& plan, std::vector<Listener>& listeners) {
  const NodeConfig& node = *options.config.node(options.node);
  // Only the link reads the certificates; what is not there at all is said once, here.
  if (auto there = check_node_files(options.config.certs, {options.node}); !there)
    return std::unexpected(there.error());
  auto ways = plan_link(options.config, options.node, state);
  if (!ways) return std::unexpected(ways.error());
  auto listener = listen_tcp({node.host, node.control_port});
  if (!listener) return std::unexpected(listener.error());
  listeners.push_back(*listener);
  ChildSpec child{options.node + "/link", Role::link, {}, 0};
  ChildStart start = base;
  start.process = child.name;
  start.link = std::move(*ways);
  plan.descriptors[child.name] = {listener->fd};
  plan.starts[child.name] = std::move(start);
  plan.machine.children.push_back(std::move(child));
  auto others = plan_peers(options.config, options.node, state);
  if (!others) return std::unexpected(others.error());
  plan.machine.peers = std::move(others->peers);
  plan.doors = std::move(others->doors);
  return {};
}

/// Ranks meet in shared memory, which ends at the host.
Result<void> check_one_node(const GroupPlacement& group) {
  const std::set<std::string> nodes(group.rank_nodes.begin(), group.rank_nodes.end());
  if (nodes.size() == 1) return {};
  return fail(ErrorCode::unsupported,
              fmt::format("model {}: the {} ranks of group {} do not fit on one node, and a group "
                          "over several nodes is not served; give one node that many free devices "
                          "or ask for fewer ranks",
                          group.model, group.rank_nodes.size(), group.index),
              "models");
}

/// Which processes this node runs, and what each is told.
Result<Plan> make_plan(const NodeOptions& options, const StateDir& state,
                       std::vector<Listener>& listeners) {
  const ClusterConfig& config = options.config;
  const NodeConfig& node = *config.node(options.node);
  Plan plan;
  plan.machine = {config.cluster,     options.node, build_id(), kWireVersion, config_digest(config),
                  draw_incarnation(), {},           {},         config.limits};
  ChildStart base;
  base.cluster = config.cluster;
  base.node = options.node;
  base.build = plan.machine.build;
  base.config_digest = plan.machine.config_digest;
  base.node_socket = state.node_socket();
  base.limits = config.limits;
  base.json_log = options.log == LogFormat::json;
  auto placed = place_groups(config);
  if (!placed) return std::unexpected(placed.error());
  for (const GroupPlacement& group : *placed) {
    if (group.rank_nodes.front() != options.node) continue;
    if (auto fits = check_one_node(group); !fits) return std::unexpected(fits.error());
    const ModelConfig& model =
        *std::find_if(config.models.begin(), config.models.end(),
                      [&](const ModelConfig& m) { return m.name == group.model; });
    plan.machine.groups.push_back({order_of(model, node, group.group, config.limits),
                                   static_cast<int32_t>(group.rank_nodes.size()),
                                   state.group_socket(group.group)});
    for (int32_t rank = 0; rank < static_cast<int32_t>(group.rank_nodes.size()); ++rank) {
      ChildSpec child{
          fmt::format("{}/shard/{}.{}.{}", options.node, group.model, group.index, rank),
          Role::shard, group.group, rank};
      ChildStart start = base;
      start.process = child.name;
      start.own_socket = state.group_socket(group.group);
      plan.starts[child.name] = std::move(start);
      plan.machine.children.push_back(std::move(child));
    }
  }
  if (config.nodes.size() > 1)
    if (auto linked = add_link(options, state, base, plan, listeners); !linked)
      return std::unexpected(linked.error());
  // Routers of several nodes must derive equal keys.
  const auto secret =
      config.nodes.size() > 1 ? read_cluster_secret(config.certs) : state.own_secret();
  if (!secret) return std::unexpected(secret.error());
  for (const RouterListen& router : config.routers) {
    if (router.node != options.node) continue;
    if (auto usable = check_router_files(config, router); !usable)
      return std::unexpected(usable.error());
    auto listener = listen_tcp(router.http);
    if (!listener) return std::unexpected(listener.error());
    listeners.push_back(*listener);
    ChildSpec child{options.node + "/router", Role::router, {}, 0};
    ChildStart start = base;
    start.process = child.name;
    start.tls_certificate = router.tls_certificate;
    start.tls_key = router.tls_key;
    start.api_keys_file = config.api_keys_file;
    start.trusted_proxies = router.trusted_proxies;
    start.redis = config.redis;
    start.redis_insecure = config.redis_insecure;
    const Digest tenants = derive(*secret, "tenant salts");
    std::copy_n(tenants.begin(), start.tenant_root.size(), start.tenant_root.begin());
    start.value_key = derive(*secret, "cached values");
    plan.addresses[child.name] = fmt::format(
        "{}://{}", router.tls_certificate.empty() ? "http" : "https", to_string(listener->address));
    plan.descriptors[child.name] = {listener->fd};
    plan.starts[child.name] = std::move(start);
    plan.machine.children.push_back(std::move(child));
  }
  return plan;
}

std::string endpoint_json(const NodeOptions& options, const Plan& plan, const StateDir& state,
                          const std::string& admin) {
  std::string out;
  JsonWriter w(out);
  w.begin_object()
      .field("pid", int64_t{::getpid()})
      .field("cluster", options.config.cluster)
      .field("node", options.node);
  w.key("http").begin_array();
  for (const auto& [child, address] : plan.addresses) w.string(address);
  w.end_array()
      .field("admin", "http://" + admin)
      .field("token_path", state.token_path())
      .end_object();
  return out + "\n";
}

/// CAF's own shutdown waits for timers and handles; nothing here needs it once the children are
/// gone.
[[noreturn]] void leave(int code) {
  std::fflush(nullptr);
  ::_exit(code);
}

/// One plain line a loaded rank: what runs it, and why.
std::vector<std::string> choices_made(const NodeTree& tree) {
  std::vector<std::string> lines;
  for (const ActorStatus& actor : tree.actors)
    if (actor.role == Role::shard && !actor.describe.empty())
      lines.push_back(fmt::format("{} runs on {}", actor.model, actor.describe));
  return lines;
}

[[noreturn]] void give_up(const Error& error) {
  end_log();
  std::fprintf(stderr, "troupe: %s\n", error.message.c_str());
  leave(1);
}

}  // namespace

Result<void> run_node(NodeOptions options) {
  const NodeConfig* node = options.config.node(options.node);
  if (!node)
    return fail(ErrorCode::not_found,
                fmt::format("node {} is not in the config; use --name with one of its nodes",
                            options.node));
  // Threads of libgomp that spin between steps cost a whole core each; it reads this when it is
  // loaded.
  ::setenv("OMP_WAIT_POLICY", "passive", 0);
  block_signals();
  start_log(options.log, options.node);
  auto state = StateDir::open(options.state_dir);
  if (!state) return std::unexpected(state.error());
  std::vector<Listener> listeners;
  auto plan = make_plan(options, *state, listeners);
  if (!plan) return std::unexpected(plan.error());
  auto admin_listener = listen_tcp({"127.0.0.1", node->admin_port});
  if (!admin_listener) return std::unexpected(admin_listener.error());

  SystemConfig system_config;
  caf::actor_system system{system_config};
  const caf::actor middleman = spawn_unix_middleman(system);
  auto tree = std::make_shared<SharedTree>();
  std::mutex outcome_mutex;
  std::optional<Error> outcome;  // guarded: why the node gave up
  caf::actor supervisor;
  auto tell = [&supervisor](NodeInput input) {
    caf::anon_send(supervisor, local(std::move(input)));
  };

  SpawnerEvents events;
  events.spawned = [&](const std::string& child, Incarnation i, int64_t pid) {
    tell(node_in::Spawned{child, i, pid});
  };
  events.spawn_failed = [&](const std::string& child, std::string why) {
    tell(node_in::SpawnFailed{child, std::move(why)});
  };
  events.exited = [&](const std::string& child, Incarnation i, std::string how) {
    tell(node_in::Exited{child, i, std::move(how)});
  };
  events.beat = [&](const std::string& child, const Beat& beat) {
    caf::anon_send(supervisor, local(BeatNote{child, Incarnation(beat.incarnation)}));
  };
  Spawner* spawner_address = nullptr;
  events.signal = [&](int signal) {
    if (signal == SIGHUP)
      spawner_address->reload_all();
    else
      tell(node_in::Drain{});
  };
  std::optional<Spawner> children(std::in_place, std::move(events));
  Spawner& spawner = *children;
  spawner_address = &spawner;

  SupervisorActorConfig setup;
  setup.machine = plan->machine;
  setup.starts = plan->starts;
  setup.descriptors = plan->descriptors;
  for (const NodeConfig& each : options.config.nodes) setup.nodes.push_back(each.name);
  setup.doors = plan->doors;
  setup.middleman = middleman;
  setup.spawn = [&](SpawnCommand command) { spawner.spawn(std::move(command)); };
  setup.end = [&](EndCommand command) { spawner.end(std::move(command)); };
  setup.share = [&](ShareCommand command) { spawner.share(std::move(command)); };
  setup.draw_incarnation = &draw_incarnation;
  setup.tree = tree;
  setup.serving = [&, said = std::set<std::string>()](const std::string& router) mutable {
    if (options.log == LogFormat::text)
      for (const std::string& line : choices_made(tree->get()))
        if (said.insert(line).second) std::fprintf(stderr, "troupe: %s\n", line.c_str());
    std::printf("ready %s\n", plan->addresses.at(router).c_str());
    std::fflush(stdout);
  };
  setup.load_failed = [&](const Error& error) {
    if (options.on_load_failure == OnLoadFailure::retry) return;
    std::lock_guard lock(outcome_mutex);
    if (!outcome) outcome = error;
    spawner.stop();
  };
  setup.stopped = [&] { spawner.stop(); };
  supervisor = system.spawn<SupervisorActor>(std::move(setup));
  if (auto published = publish_unix(system, middleman, supervisor, state->node_socket());
      !published)
    give_up(published.error());

  std::unique_ptr<NodeBeats> beats;
  if (options.config.nodes.size() > 1) {
    auto started = NodeBeats::start(
        {{options.node, plan->machine.incarnation},
         plan_beats(options.config, options.node, *state),
         options.config.limits.scaled(kDeadAfter),
         [&supervisor](const NodeBeat& beat) {
           caf::anon_send(supervisor, local(BeatNote{beat.node, beat.incarnation}));
         }});
    if (!started) give_up(started.error());
    beats = std::move(*started);
  }

  AdminConfig admin;
  admin.listener = admin_listener->fd;
  admin.token = state->admin_token();
  admin.tree = [tree, cluster = options.config.cluster] {
    return status_json(cluster, tree->all());
  };
  admin.actor = [tree](const std::string& id) {
    for (const NodeTree& each : tree->all())
      if (std::string found = actor_json(each, id); !found.empty()) return found;
    return std::string();
  };
  admin.metrics = [tree, &beats] {
    return node_metrics_text(tree->get()) + (beats ? beat_metrics_text(beats->stats()) : "");
  };
  auto admin_server = AdminServer::start(std::move(admin));
  if (!admin_server) give_up(admin_server.error());
  if (auto written = state->write_endpoint(
          endpoint_json(options, *plan, *state, to_string(admin_listener->address)));
      !written)
    give_up(written.error());

  tell(node_in::Start{});
  spawner.run();
  children.reset();  // what still runs is killed and reaped
  std::lock_guard lock(outcome_mutex);
  if (outcome) give_up(*outcome);
  leave(0);
}

}  // namespace troupe
