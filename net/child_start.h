// What a node tells a process it has just started, over the lifeline: who it is and what it may
// know. Secrets travel here and never in argv or the environment.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cluster/messages.h"
#include "config/limits.h"
#include "config/result.h"
#include "net/host_policy.h"
#include "net/link.h"

namespace troupe {

struct ChildStart {
  std::string cluster, node, build, process;
  Role role = Role::shard;
  Incarnation incarnation;
  Digest config_digest{};
  std::string node_socket;  ///< the node's AF_UNIX socket, to dial
  std::string own_socket;   ///< where this process listens; shards only
  std::string model_file;   ///< shards only: to be loaded in place of the order's source, if any
  std::string rank_host;    ///< where a rank waits for those of other hosts; shards only
  PortRange rank_ports;
  Limits limits;
  bool json_log = false;
  // routers only:
  std::string tls_certificate, tls_key, api_keys_file;
  std::vector<std::string> trusted_proxies;
  HostPolicy hosts;
  Salt tenant_root{};  ///< keys tenant salts
  std::string redis;
  bool redis_insecure = false;
  Digest value_key{};  ///< HMAC key of cached values
  LinkWays link;       ///< links only
  bool operator==(const ChildStart&) const = default;
};

std::vector<uint8_t> encode_child_start(const ChildStart& start);
Result<ChildStart> decode_child_start(std::span<const uint8_t> bytes);

}  // namespace troupe
