#include "net/child_start.h"

#include <algorithm>
#include <cstring>

#include "config/check.h"
#include "wire.pb.h"

namespace troupe {

namespace {

void put_link(const LinkWays& ways, wire::LinkWays& out) {
  out.set_ca(ways.files.ca);
  out.set_certificate(ways.files.certificate);
  out.set_key(ways.files.key);
  for (const LinkPeer& peer : ways.peers) {
    wire::LinkPeer& to = *out.add_peers();
    to.set_node(peer.node);
    to.set_host(peer.address.host);
    to.set_port(peer.address.port);
  }
  for (const LinkDoor& door : ways.doors) {
    wire::LinkDoor& to = *out.add_doors();
    to.set_path(door.path);
    to.set_service(static_cast<uint32_t>(door.service));
    to.set_source_process(door.source_process);
    to.set_node(door.node);
    to.set_target_process(door.target_process);
  }
  for (const LinkTarget& target : ways.targets) {
    wire::LinkTarget& to = *out.add_targets();
    to.set_service(static_cast<uint32_t>(target.service));
    to.set_process(target.process);
    to.set_path(target.path);
  }
}

/// False if a service or port can't be one.
bool take_link(const wire::LinkWays& in, LinkWays& ways) {
  bool fine = true;
  auto service = [&fine](uint32_t value) {
    fine &= value < kLinkServices;
    return static_cast<LinkService>(value);
  };
  ways.files = {in.ca(), in.certificate(), in.key()};
  for (const wire::LinkPeer& peer : in.peers()) {
    fine &= peer.port() <= 65'535;
    ways.peers.push_back({peer.node(), {peer.host(), static_cast<uint16_t>(peer.port())}});
  }
  for (const wire::LinkDoor& door : in.doors())
    ways.doors.push_back({door.path(), service(door.service()), door.source_process(), door.node(),
                          door.target_process()});
  for (const wire::LinkTarget& target : in.targets())
    ways.targets.push_back({service(target.service()), target.process(), target.path()});
  return fine;
}

}  // namespace

std::vector<uint8_t> encode_child_start(const ChildStart& start) {
  wire::ChildStart out;
  out.set_cluster(start.cluster);
  out.set_node(start.node);
  out.set_build(start.build);
  out.set_process(start.process);
  out.set_role(static_cast<uint32_t>(start.role));
  out.set_incarnation(start.incarnation.value);
  out.set_config_digest(start.config_digest.data(), start.config_digest.size());
  out.set_node_socket(start.node_socket);
  out.set_own_socket(start.own_socket);
  out.set_model_file(start.model_file);
  out.set_rank_host(start.rank_host);
  out.set_first_rank_port(start.rank_ports.first);
  out.set_last_rank_port(start.rank_ports.last);
  out.set_timing_scale(start.limits.timing_scale);
  out.set_router_requests(start.limits.router_requests);
  out.set_batcher_queue(start.limits.batcher_queue);
  out.set_connections_per_address(start.limits.connections_per_address);
  out.set_response_cache_bytes(start.limits.response_cache_bytes);
  out.set_request_deadline(start.limits.request_deadline.count());
  out.set_queue_wait(start.limits.queue_wait.count());
  out.set_drain(start.limits.drain.count());
  out.set_tls_certificate(start.tls_certificate);
  out.set_tls_key(start.tls_key);
  out.set_api_keys_file(start.api_keys_file);
  for (const std::string& proxy : start.trusted_proxies) out.add_trusted_proxies(proxy);
  for (const HostPort& host : start.hosts.hosts) {
    wire::RankAddress* to = out.add_allowed_hosts();
    to->set_host(host.host);
    to->set_port(host.port);
  }
  out.set_any_host(start.hosts.asked == HostPolicy::HostOf::pages);
  out.set_tenant_root(start.tenant_root.data(), start.tenant_root.size());
  out.set_json_log(start.json_log);
  out.set_redis(start.redis);
  out.set_redis_insecure(start.redis_insecure);
  out.set_value_key(start.value_key.data(), start.value_key.size());
  put_link(start.link, *out.mutable_link());
  std::vector<uint8_t> bytes(out.ByteSizeLong());
  TROUPE_CHECK(out.SerializeToArray(bytes.data(), static_cast<int>(bytes.size())));
  return bytes;
}

Result<ChildStart> decode_child_start(std::span<const uint8_t> bytes) {
  wire::ChildStart in;
  ChildStart start;
  if (!in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      in.config_digest().size() != start.config_digest.size() ||
      in.tenant_root().size() != start.tenant_root.size() ||
      in.value_key().size() != start.value_key.size() ||
      in.role() > static_cast<uint32_t>(Role::client) || in.first_rank_port() > UINT16_MAX ||
      in.last_rank_port() > UINT16_MAX ||
      std::ranges::any_of(in.allowed_hosts(),
                          [](auto& host) { return host.port() > UINT16_MAX; }) ||
      !take_link(in.link(), start.link))
    return fail(ErrorCode::data_loss,
                "the lifeline's first packet does not parse; the node runs another build");
  start.cluster = in.cluster();
  start.node = in.node();
  start.build = in.build();
  start.process = in.process();
  start.role = static_cast<Role>(in.role());
  start.incarnation = Incarnation(in.incarnation());
  std::memcpy(start.config_digest.data(), in.config_digest().data(), start.config_digest.size());
  start.node_socket = in.node_socket();
  start.own_socket = in.own_socket();
  start.model_file = in.model_file();
  start.rank_host = in.rank_host();
  start.rank_ports = {static_cast<uint16_t>(in.first_rank_port()),
                      static_cast<uint16_t>(in.last_rank_port())};
  start.limits.timing_scale = in.timing_scale();
  start.limits.router_requests = in.router_requests();
  start.limits.batcher_queue = in.batcher_queue();
  start.limits.connections_per_address = in.connections_per_address();
  start.limits.response_cache_bytes = in.response_cache_bytes();
  start.limits.request_deadline = Duration(in.request_deadline());
  start.limits.queue_wait = Duration(in.queue_wait());
  start.limits.drain = Duration(in.drain());
  start.tls_certificate = in.tls_certificate();
  start.tls_key = in.tls_key();
  start.api_keys_file = in.api_keys_file();
  start.trusted_proxies.assign(in.trusted_proxies().begin(), in.trusted_proxies().end());
  for (const wire::RankAddress& host : in.allowed_hosts())
    start.hosts.hosts.push_back({host.host(), static_cast<uint16_t>(host.port())});
  if (in.any_host()) start.hosts.asked = HostPolicy::HostOf::pages;
  std::memcpy(start.tenant_root.data(), in.tenant_root().data(), start.tenant_root.size());
  start.json_log = in.json_log();
  start.redis = in.redis();
  start.redis_insecure = in.redis_insecure();
  std::memcpy(start.value_key.data(), in.value_key().data(), start.value_key.size());
  return start;
}

}  // namespace troupe
