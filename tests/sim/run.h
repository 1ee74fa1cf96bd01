// One simulated life of a cluster of one to four nodes: faults, then none; then everything must be
// well again.
#pragma once

#include <cstdint>
#include <string>

#include "tests/sim/clients.h"
#include "tests/sim/tamper.h"

namespace troupe::sim {

struct RunOptions {
  uint64_t seed = 1;
  bool tracing = false;
  Tamper* tamper = nullptr;  ///< not owned; null: nothing is broken on purpose
  bool only_hangs = false;   ///< supervisors hang, and nothing else goes wrong
};

/// Every third seed has several nodes; they cost several times as much.
inline constexpr bool several_nodes(uint64_t seed) { return seed % 3 == 0; }

struct RunResult {
  std::string violation;  ///< empty: all promises were kept
  Totals totals;
  uint64_t events = 0;
  int deaths = 0, drains = 0, nodes = 0, node_deaths = 0, hangs = 0;
  size_t meetings = 0;  ///< of ranks of several nodes
};

RunResult run(const RunOptions& options);

}  // namespace troupe::sim
