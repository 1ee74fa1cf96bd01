// The cluster as its operator wrote it: parsed from YAML, checked, immutable. Every key is
// documented in docs/config.md. Refusals read `file:line: key: what was expected`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/host_port.h"
#include "config/ids.h"
#include "config/limits.h"
#include "config/result.h"

namespace troupe {

struct NodeConfig {
  std::string name, host;
  uint16_t control_port = 0;  ///< 0: none needed (one node)
  PortRange data_ports;
  uint16_t admin_port = 0;  ///< 0: any free port, announced
  int32_t cpu_slots = 0;    ///< one rank each
  bool seed = false;
  bool operator==(const NodeConfig&) const = default;
};

struct RouterListen {
  std::string node;
  HostPort http;
  std::string tls_certificate, tls_key;
  bool insecure_http = false;
  std::vector<std::string> trusted_proxies;
  /// Names it goes by beside loopback names and where it listens; port 0: any.
  std::vector<HostPort> allowed_hosts;
  bool operator==(const RouterListen&) const = default;
};

enum class Standby : uint8_t { active, warm, cold };

struct ModelConfig {
  std::string name, source;
  std::optional<Digest> sha256;
  std::string backend = "auto";  ///< auto | native | torch | oracle
  int32_t groups = 1, tensor_parallel = 1, pipeline_parallel = 1;
  Standby standby = Standby::active;
  int32_t threads = 0;           ///< of a rank; 0: cores / slots
  int32_t context = 0;           ///< 0: the model's, as far as KV memory allows
  int64_t kv_memory = 0;         ///< bytes a rank; 0: automatic
  int32_t max_batch_tokens = 0;  ///< rows in one step; 0: automatic
  std::string isa = "auto";      ///< native: auto | scalar | avx2 | avx512 | amx
  std::string kv_dtype = "f16";  ///< native: f16 | int8
  Duration oracle_step{};        ///< oracle backend: how long a modelled step takes
  bool operator==(const ModelConfig&) const = default;
};

struct ClusterConfig {
  std::string cluster;
  std::vector<NodeConfig> nodes;
  std::vector<RouterListen> routers;
  std::vector<ModelConfig> models;
  std::string redis;            ///< redis://host:port, empty: none
  bool redis_insecure = false;  ///< a remote redis:// was allowed
  std::string api_keys_file;
  std::string certs;  ///< folder with ca.pem, NODE.pem and NODE.key, for the link; empty: none
  Limits limits;

  const NodeConfig* node(std::string_view name) const;
  bool operator==(const ClusterConfig&) const = default;
};

/// Relative paths in the file are taken relative to its folder.
Result<ClusterConfig> load_cluster_config(const std::string& file);
/// `file` appears in messages; `folder` resolves relative paths.
Result<ClusterConfig> parse_cluster_config(std::string_view yaml, const std::string& file,
                                           const std::string& folder);

/// The checks that need the whole picture (duplicates, slots, unknown nodes); also run by parse.
/// For configs made in code (`troupe serve`).
Result<void> check_cluster_config(const ClusterConfig& config);

/// YAML with every default filled in; parses back to an equal config.
std::string print_cluster_config(const ClusterConfig& config);

/// Of the printed form: equal on all nodes that run the same config.
Digest config_digest(const ClusterConfig& config);

/// One group of a model and where it runs: placement version 0, a pure function of the config. A
/// group packs into as few nodes as it fits, the groups of a model spread over nodes.
struct GroupPlacement {
  GroupId group;
  std::string model;
  int32_t index = 0;                    ///< among the model's groups
  std::vector<std::string> rank_nodes;  ///< node of each rank
};
Result<std::vector<GroupPlacement>> place_groups(const ClusterConfig& config);

}  // namespace troupe
