// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011):
// a counter based generator, so a draw is a pure function of (seed, position, choice) and any
// worker can redo it.
#pragma once

#include <array>
#include <cstdint>

namespace troupe {

/// Ten rounds over a 128-bit counter and a 64-bit key.
std::array<uint32_t, 4> philox4x32_10(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// 53 uniform bits in [0, 1): key = seed (low word first), counter = (position, choice, 0, 0).
double philox_uniform(uint64_t seed, uint32_t position, uint32_t choice);

}  // namespace troupe
