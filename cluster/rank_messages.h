// What the head of a group and a node that runs some of its ranks tell each other, whole each time:
// what a broken link lost is told again by the next message, and one that comes twice changes
// nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cluster/messages.h"

namespace troupe {

/// Head -> node: the generation that its ranks should be of.
struct RanksOrder {
  struct Rank {
    int32_t rank = 0;
    Incarnation process;  ///< meant are these processes and no later ones
    bool operator==(const Rank&) const = default;
  };
  LoadOrder load;  ///< with the generation; its rank counts for nothing
  std::vector<Rank> ranks;
  bool over = false;  ///< the generation is to end
  bool operator==(const RanksOrder&) const = default;
};

/// Node -> head: how a rank's process stands.
struct RankState {
  int32_t rank = 0;
  Incarnation process;  ///< that may be ordered to load, or was; zero: none
  std::string why;      ///< none: how the last one ended
  bool suspect = false;
  std::optional<LoadReport> loaded;  ///< what it answered to its order
  std::optional<StepFault> fault;
  bool operator==(const RankState&) const = default;
};
struct RanksReport {
  GroupId group;
  Generation over;  ///< the newest that is over here: whoever still runs took no part in it
  std::vector<RankState> ranks;
  bool operator==(const RanksReport&) const = default;
};

}  // namespace troupe
