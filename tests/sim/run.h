// One simulated life of a node: faults, then none; then everything must be well again.
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
};

struct RunResult {
  std::string violation;  ///< empty: all promises were kept
  Totals totals;
  uint64_t events = 0;
  int deaths = 0, drains = 0;
};

RunResult run(const RunOptions& options);

}  // namespace troupe::sim
