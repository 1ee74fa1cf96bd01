// A ClusterConfig as YAML that parses back to it.
#include <fmt/format.h>

#include "config/cluster_config.h"
#include "config/digest.h"

namespace troupe {

namespace {

/// YAML's double-quoted form, in which any text can stand.
std::string quote(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      out += {'\\', c};
    else if (byte < 0x20 || byte == 0x7f)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += c;
  }
  return out + "\"";
}

}  // namespace

std::string print_cluster_config(const ClusterConfig& config) {
  std::string out = fmt::format("cluster: {}\nnodes:\n", config.cluster);
  for (const NodeConfig& n : config.nodes) {
    out += fmt::format("  - name: {}\n    host: {}\n", n.name, quote(n.host));
    if (n.control_port) out += fmt::format("    control_port: {}\n", n.control_port);
    if (n.data_ports.first)
      out += fmt::format("    data_ports: {}-{}\n", n.data_ports.first, n.data_ports.last);
    if (n.admin_port) out += fmt::format("    admin_port: {}\n", n.admin_port);
    out += "    devices: [";
    for (int32_t i = 0; i < n.cpu_slots; ++i) out += fmt::format("{}cpu:{}", i ? ", " : "", i);
    out += fmt::format("]\n    seed: {}\n", n.seed);
  }
  out += "routers:\n";
  for (const RouterListen& r : config.routers) {
    out += fmt::format("  - node: {}\n    http: {}\n    insecure_http: {}\n", r.node,
                       quote(to_string(r.http)), r.insecure_http);
    if (!r.tls_certificate.empty())
      out += fmt::format("    tls: {{cert: {}, key: {}}}\n", quote(r.tls_certificate),
                         quote(r.tls_key));
    if (!r.trusted_proxies.empty()) {
      out += "    trusted_proxies: [";
      for (size_t i = 0; i < r.trusted_proxies.size(); ++i)
        out += (i ? ", " : "") + quote(r.trusted_proxies[i]);
      out += "]\n";
    }
    if (!r.allowed_hosts.empty()) {
      out += "    allowed_hosts: [";
      for (size_t i = 0; i < r.allowed_hosts.size(); ++i) {
        const HostPort& host = r.allowed_hosts[i];
        out += (i ? ", " : "") + quote(host.port ? to_string(host) : host.host);
      }
      out += "]\n";
    }
  }
  out += "models:\n";
  for (const ModelConfig& m : config.models) {
    out += fmt::format("  - name: {}\n", m.name);
    if (!m.source.empty()) out += fmt::format("    source: {}\n", quote(m.source));
    if (m.sha256) out += fmt::format("    sha256: {}\n", to_hex(*m.sha256));
    const char* standby = m.standby == Standby::active ? "active"
                          : m.standby == Standby::warm ? "warm"
                                                       : "cold";
    out += fmt::format(
        "    backend: {}\n    groups: {}\n    tensor_parallel: {}\n    pipeline_parallel: {}\n    "
        "standby: {}\n",
        m.backend, m.groups, m.tensor_parallel, m.pipeline_parallel, standby);
    if (m.threads) out += fmt::format("    threads: {}\n", m.threads);
    if (m.context) out += fmt::format("    ctx: {}\n", m.context);
    if (m.kv_memory) out += fmt::format("    kv_memory: {}\n", m.kv_memory);
    if (m.max_batch_tokens) out += fmt::format("    max_batch_tokens: {}\n", m.max_batch_tokens);
    if (m.isa != "auto") out += fmt::format("    isa: {}\n", m.isa);
    if (m.kv_dtype != "f16") out += fmt::format("    kv_dtype: {}\n", m.kv_dtype);
    if (m.oracle_step != 0ns)
      out += fmt::format("    oracle_step: {}us\n", m.oracle_step.count() / 1000);
  }
  if (!config.redis.empty())
    out += fmt::format("cache:\n  redis: {}\n  insecure: {}\n", quote(config.redis),
                       config.redis_insecure);
  if (!config.api_keys_file.empty() || !config.certs.empty()) out += "security:\n";
  if (!config.api_keys_file.empty())
    out += fmt::format("  api_keys_file: {}\n", quote(config.api_keys_file));
  if (!config.certs.empty()) out += fmt::format("  certs: {}\n", quote(config.certs));
  const Limits& l = config.limits;
  out += fmt::format(
      "limits:\n  timing_scale: {}\n  router_requests: {}\n  batcher_queue: {}\n  "
      "connections_per_address: {}\n"
      "  response_cache_bytes: {}\n  request_deadline: {}ms\n  queue_wait: {}ms\n  drain: {}ms\n",
      l.timing_scale, l.router_requests, l.batcher_queue, l.connections_per_address,
      l.response_cache_bytes, to_ms(l.request_deadline), to_ms(l.queue_wait), to_ms(l.drain));
  return out;
}

Digest config_digest(const ClusterConfig& config) { return sha256(print_cluster_config(config)); }

}  // namespace troupe
