// A random sequence of calls that every rank can make from one seed, and what must come out of
// each: computed from the seed alone, without a collective.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/collective.h"

namespace troupe::testing {

enum class ScriptKind { all_gather_v, all_reduce, broadcast, message };

struct ScriptCall {
  ScriptKind kind = ScriptKind::broadcast;
  std::vector<int> members;    ///< ascending; all ranks or a sub-group
  std::vector<size_t> counts;  ///< bytes by member; one entry for other kinds than all_gather_v
  int from = 0, to = 0;        ///< indices into members: the root; sender and receiver
};

std::vector<ScriptCall> random_script(uint64_t seed, int ranks, int calls);

/// Makes all calls of `rank`; "fine", or what differs from what the script foretells.
std::string play(Collective& collective, uint64_t seed, const std::vector<ScriptCall>& script);

}  // namespace troupe::testing
