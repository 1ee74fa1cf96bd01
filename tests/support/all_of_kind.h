// What a machine asked for, by kind.
#pragma once

#include <variant>
#include <vector>

namespace troupe::test {

/// The `Kind`s among variants, in their order.
template <class Kind, class... Kinds>
std::vector<Kind> all_of_kind(const std::vector<std::variant<Kinds...>>& all) {
  std::vector<Kind> found;
  for (const auto& each : all)
    if (const auto* kind = std::get_if<Kind>(&each)) found.push_back(*kind);
  return found;
}

}  // namespace troupe::test
