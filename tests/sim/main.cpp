// The simulator's tests; or, with `replay SEED [--trace]`, one run of it (scripts/sim.sh).
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/sim/run.h"

int main(int argc, char** argv) {
  if (argc < 3 || std::strcmp(argv[1], "replay") != 0) return doctest::Context(argc, argv).run();
  const auto seed = std::strtoull(argv[2], nullptr, 10);
  const bool tracing = argc > 3 && std::strcmp(argv[3], "--trace") == 0;
  const auto result = troupe::sim::run({.seed = seed, .tracing = tracing});
  const auto& t = result.totals;
  fmt::print(
      "seed {}: {} nodes, {} events, {} deaths, {} requests: {} complete, {} failed, {} gone, {} "
      "lost; {} tokens\n",
      seed, result.nodes, result.events, result.deaths + result.node_deaths, t.asked, t.complete,
      t.failed, t.gone, t.lost, t.tokens);
  if (result.violation.empty()) return 0;
  fmt::print("violation {}\n", result.violation);
  return 1;
}
