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
  Only only = Only::anything;
};

/// Every other seed has several nodes.
inline constexpr bool several_nodes(uint64_t seed) { return seed % 2 == 0; }

struct RunResult {
  std::string violation;  ///< empty: all promises were kept
  Totals totals;
  uint64_t events = 0;
  int deaths = 0, drains = 0, nodes = 0, node_deaths = 0, hangs = 0;
  int link_deaths = 0;  ///< of link processes, without a drain
  size_t meetings = 0;  ///< of ranks of several nodes
};

RunResult run(const RunOptions& options);

}  // namespace troupe::sim
