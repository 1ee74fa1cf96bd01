// How soon the simulator notices a mutant: a Tamper that breaks one rule on purpose.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>

#include "tests/sim/run.h"

namespace troupe::sim {

inline constexpr bool any_seed(uint64_t) { return true; }

/// The first of the seeds 1 to `seeds_max` that shows it, or 0. Each life has a mutant of its own.
template <class Mutant>
uint64_t caught_at(uint64_t seeds_max, bool (*fits)(uint64_t seed) = any_seed) {
  for (uint64_t seed = 1; seed <= seeds_max; ++seed) {
    if (!fits(seed)) continue;
    Mutant mutant;
    const auto result = run({.seed = seed, .tamper = &mutant});
    if (!result.violation.empty()) {
      MESSAGE("seed " << seed << " " << result.violation);
      return seed;
    }
  }
  return 0;
}

}  // namespace troupe::sim
