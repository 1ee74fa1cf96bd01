#include "actors/node_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "actors/build_id.h"
#include "actors/link_plan.h"
#include "config/digest.h"
#include "net/api_keys.h"
#include "net/certs_folder.h"
#include "net/envelope.h"
#include "net/listener.h"
#include "net/random.h"
#include "net/tls_filter.h"

namespace troupe {

namespace {

/// Keys for one purpose each, from the cluster's secret.
Digest derive(const Digest& secret, std::string_view purpose) {
  return hmac_sha256(std::as_bytes(std::span(secret)), std::as_bytes(std::span(purpose)));
}

int32_t threads_of(const ModelConfig& model, const NodeConfig& node) {
  const auto cores = static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()));
  return model.threads > 0 ? model.threads : std::max(1, cores / node.cpu_slots);
}

LoadOrder order_of(const ModelConfig& model, const NodeConfig& node, GroupId group,
                   const Limits& limits) {
  LoadOrder order;
  order.group = group;
  order.model = model.name;
  order.source = model.source;
  order.backend = model.backend;
  order.tensor_parallel = model.tensor_parallel;
  order.pipeline_parallel = model.pipeline_parallel;
  order.threads = threads_of(model, node);
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
                      NodePlan& plan) {
  const NodeConfig& node = *options.config.node(options.node);
  // Only the link reads the certificates; what is not there at all is said once, here.
  if (auto there = check_node_files(options.config.certs, {options.node}); !there)
    return std::unexpected(there.error());
  auto ways = plan_link(options.config, options.node, state);
  if (!ways) return std::unexpected(ways.error());
  auto listener = listen_tcp({node.host, node.control_port});
  if (!listener) return std::unexpected(listener.error());
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

/// The ranks of a group that this node runs, if any.
void add_ranks(const NodeOptions& options, const StateDir& state, const ChildStart& base,
               const GroupPlacement& group, NodePlan& plan) {
  const ClusterConfig& config = options.config;
  const NodeConfig& node = *config.node(options.node);
  const ModelConfig& model = *std::ranges::find(config.models, group.model, &ModelConfig::name);
  const std::string& head = group.rank_nodes.front();
  if (head == node.name) {
    HeadedGroup headed;
    headed.order = order_of(model, node, group.group, config.limits);
    headed.ranks = static_cast<int32_t>(group.rank_nodes.size());
    headed.socket = state.group_socket(group.group);
    headed.nodes = group.rank_nodes;
    plan.machine.groups.push_back(std::move(headed));
  } else if (std::ranges::find(group.rank_nodes, node.name) != group.rank_nodes.end()) {
    plan.machine.lent.push_back({group.group, model.name, head, threads_of(model, node)});
  }
  for (size_t rank = 0; rank < group.rank_nodes.size(); ++rank) {
    if (group.rank_nodes[rank] != node.name) continue;
    ChildSpec child{fmt::format("{}/shard/{}.{}.{}", node.name, group.model, group.index, rank),
                    Role::shard, group.group, static_cast<int32_t>(rank)};
    ChildStart start = base;
    start.process = child.name;
    start.own_socket = state.group_socket(group.group);
    if (model.sha256) plan.files[child.name] = *model.sha256;
    start.rank_host = node.host;
    start.rank_ports = node.data_ports;
    plan.starts[child.name] = std::move(start);
    plan.machine.children.push_back(std::move(child));
  }
}

/// The names a router goes by: those it is told of, its own and its node's. Who lists names means
/// no others; who listens to this machine alone means no names from outside.
HostPolicy host_policy_of(const RouterListen& router, const NodeConfig& node) {
  HostPolicy policy;
  policy.hosts = router.allowed_hosts;
  for (const std::string* own : {&router.http.host, &node.host})
    if (const auto host = parse_host(*own)) policy.hosts.push_back(*host);
  if (router.allowed_hosts.empty() && !is_loopback(router.http.host))
    policy.asked = HostPolicy::HostOf::pages;
  return policy;
}

Result<void> add_router(const NodeOptions& options, const ChildStart& base, const Digest& secret,
                        const RouterListen& router, NodePlan& plan) {
  const ClusterConfig& config = options.config;
  if (auto usable = check_router_files(config, router); !usable)
    return std::unexpected(usable.error());
  auto listener = listen_tcp(router.http);
  if (!listener) return std::unexpected(listener.error());
  ChildSpec child{options.node + "/router", Role::router, {}, 0};
  ChildStart start = base;
  start.process = child.name;
  start.tls_certificate = router.tls_certificate;
  start.tls_key = router.tls_key;
  start.api_keys_file = config.api_keys_file;
  start.trusted_proxies = router.trusted_proxies;
  start.hosts = host_policy_of(router, *config.node(options.node));
  start.redis = config.redis;
  start.redis_insecure = config.redis_insecure;
  const Digest tenants = derive(secret, "tenant salts");
  std::copy_n(tenants.begin(), start.tenant_root.size(), start.tenant_root.begin());
  start.value_key = derive(secret, "cached values");
  plan.addresses[child.name] = fmt::format(
      "{}://{}", router.tls_certificate.empty() ? "http" : "https", to_string(listener->address));
  plan.descriptors[child.name] = {listener->fd};
  plan.starts[child.name] = std::move(start);
  plan.machine.children.push_back(std::move(child));
  return {};
}

}  // namespace

Result<NodePlan> plan_node(const NodeOptions& options, const StateDir& state,
                           Incarnation incarnation) {
  const ClusterConfig& config = options.config;
  NodePlan plan;
  plan.machine.cluster = config.cluster;
  plan.machine.node = options.node;
  plan.machine.build = build_id();
  plan.machine.wire_version = kWireVersion;
  plan.machine.config_digest = config_digest(config);
  plan.machine.incarnation = incarnation;
  plan.machine.limits = config.limits;
  plan.machine.rank_secret = random_secret();
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
  for (const GroupPlacement& group : *placed) add_ranks(options, state, base, group, plan);
  const bool several = config.nodes.size() > 1;
  if (several)
    if (auto linked = add_link(options, state, base, plan); !linked)
      return std::unexpected(linked.error());
  // Routers of several nodes must derive equal keys.
  const auto secret = several ? read_cluster_secret(config.certs) : state.own_secret();
  if (!secret) return std::unexpected(secret.error());
  for (const RouterListen& router : config.routers)
    if (router.node == options.node)
      if (auto added = add_router(options, base, *secret, router, plan); !added)
        return std::unexpected(added.error());
  return plan;
}

}  // namespace troupe
