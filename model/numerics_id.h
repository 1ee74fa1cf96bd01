// Names how a backend computes: equal ids mean that results may be treated as exact continuations
// of each other. Not a defence against an adversary (its parts come from our own process), hence a
// plain mixing hash.
#pragma once

#include <cstdint>
#include <span>
#include <string>
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

/// "numerics 1a2b3c4d", the id's first four bytes: how Capabilities::describe shows it to people,
/// who compare it between nodes.
std::string numerics_text(const Digest& numerics_id);

}  // namespace troupe
