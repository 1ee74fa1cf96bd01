// Connections between ranks of several hosts, as far as a step needs them: who listens where, who
// has met by the same key, and whether their ways are open. They do not go through the hosts' link
// processes. What a head promises of a meeting is checked here.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "cluster/rank_messages.h"

namespace troupe::sim {

struct ShardHost;

/// Of the whole cluster.
class RankMesh {
 public:
  /// Each process listens at a place of its own, once.
  HostPort listen(std::shared_ptr<ShardHost> rank);
  /// Where the others are and the key are of this rank's generation and of no other.
  void check(const ShardHost& rank);
  /// All ranks are where it was told, and were told the same.
  bool has_met(const ShardHost& rank) const;
  /// All of them would take part in a step now.
  bool complete(const ShardHost& rank) const;
  /// Another rank that is dead, if this one's host has heard so.
  std::optional<size_t> broken(const ShardHost& rank) const;
  size_t meetings() const { return meetings_.size(); }

 private:
  std::shared_ptr<ShardHost> at(const HostPort& place) const;
  std::vector<std::shared_ptr<ShardHost>> others(const ShardHost& rank) const;

  std::map<uint16_t, std::shared_ptr<ShardHost>> places_;  ///< by port
  struct Meeting {
    GroupId group;
    Generation generation;
    std::vector<HostPort> addresses;
    bool operator==(const Meeting&) const = default;
  };
  std::map<Digest, Meeting> meetings_;  ///< by key
};

}  // namespace troupe::sim
