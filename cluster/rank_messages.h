// What is said of the ranks of a group: between a node and the processes of its ranks, and between
// the node that heads a group and the nodes that run some of its ranks. The latter are whole each
// time: what a broken link lost is told again by the next message, and one that comes twice changes
// nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/host_port.h"
#include "config/ids.h"
#include "config/result.h"
#include "config/time.h"
#include "model/partition.h"

namespace troupe {

// -- node -> rank

/// Load this rank. The process was started for exactly one rank.
struct LoadOrder {
  GroupId group;
  Generation generation;
  int32_t rank = 0;
  std::string model, source, backend;
  int32_t tensor_parallel = 1, pipeline_parallel = 1;
  int32_t threads = 1, context = 0, kv_blocks = 0, max_rows = 0, max_slots = 0;
  int64_t kv_memory = 0;  ///< bytes; 0: automatic
  std::string isa;        ///< as Budget::isa
  KvType kv_type = KvType::f16;
  int64_t queue_max = 0;   ///< sequences the batcher lets wait
  Duration oracle_step{};  ///< oracle backend only: modelled time of a step
  double timing_scale = 1;
  /// By rank the host it is on, from 0, ascending; empty: all ranks share one.
  std::vector<int32_t> hosts;
  bool operator==(const LoadOrder&) const = default;
};

/// Of a group over several hosts, once all its ranks listen: where, and what they prove themselves
/// with. Never in a log.
struct RankJoin {
  GroupId group;
  Generation generation;
  std::vector<HostPort> addresses;  ///< IP addresses by rank
  Digest key{};                     ///< of this generation alone
  bool operator==(const RankJoin&) const = default;
};

/// End the generation: collectives abort, the lane is told, nothing of it is sent any more.
struct AbortOrder {
  GroupId group;
  Generation generation;
  bool operator==(const AbortOrder&) const = default;
};

// -- rank -> node

/// Of a group over several hosts, after the order to load: it waits for the other ranks here.
struct RankListening {
  GroupId group;
  Generation generation;
  int32_t rank = 0;
  HostPort address;
  bool operator==(const RankListening&) const = default;
};

struct LoadReport {
  GroupId group;
  Generation generation;
  int32_t rank = 0;
  bool ok = false;
  Error error;  ///< if not ok
  Digest weights_id{}, numerics_id{};
  int32_t context = 0;
  int32_t kv_blocks = 0;
  std::string describe;
  bool operator==(const LoadReport&) const = default;
};

/// A step of the generation failed or missed its deadline: the generation is dead.
struct StepFault {
  GroupId group;
  Generation generation;
  Error error;
  bool operator==(const StepFault&) const = default;
};

// -- the head of a group <-> a node that runs some of its ranks

/// Head -> node: the generation that its ranks should be of.
struct RanksOrder {
  struct Rank {
    int32_t rank = 0;
    Incarnation process;  ///< meant are these processes and no later ones
    bool operator==(const Rank&) const = default;
  };
  LoadOrder load;  ///< with the generation; its rank and threads count for nothing
  std::vector<Rank> ranks;
  std::optional<RankJoin> join;  ///< once all ranks of the group listen
  bool over = false;             ///< the generation is to end
  bool operator==(const RanksOrder&) const = default;
};

/// Node -> head: how a rank's process stands.
struct RankState {
  int32_t rank = 0;
  Incarnation process;  ///< that may be ordered to load, or was; zero: none
  std::string why;      ///< none: how the last one ended, or what it waits for
  bool suspect = false;
  std::optional<RankListening> listening;
  std::optional<LoadReport> loaded;  ///< what it answered to its order
  std::optional<StepFault> fault;
  bool failed = false;  ///< it died too often and is tried again now and then only
  bool operator==(const RankState&) const = default;
};
struct RanksReport {
  GroupId group;
  Generation over;  ///< the newest that is over here: whoever still runs took no part in it
  std::vector<RankState> ranks;
  bool operator==(const RanksReport&) const = default;
};

}  // namespace troupe
