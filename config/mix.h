// A fixed 64-bit mixing hash (the finaliser of SplitMix64, Steele et al. 2014). Not for secrets.
// Its values are part of the oracle backend's contract (kMixVersion goes into numerics_id): never
// change them in place.
#pragma once

#include <cstdint>

namespace troupe {

inline constexpr uint32_t kMixVersion = 1;

constexpr uint64_t mix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// Chains a value onto a hash; order matters.
constexpr uint64_t mix64(uint64_t hash, uint64_t value) {
  return mix64(hash ^ mix64(value ^ 0x5851f42d4c957f2du));
}

}  // namespace troupe
