// Names how a backend computes: equal ids mean that results may be treated as exact continuations
// of each other. Not a defence against an adversary (its parts come from our own process), hence a
// plain mixing hash.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "config/ids.h"

namespace troupe {

class NumericsId {
 public:
  NumericsId& add(uint64_t number);
  NumericsId& add(std::string_view text);
  NumericsId& add(const Digest& digest);
  Digest finish() const;

 private:
  uint64_t hash_ = 0;
};

}  // namespace troupe
