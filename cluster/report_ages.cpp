#include "cluster/report_ages.h"

#include <algorithm>
#include <utility>

namespace troupe {

void ReportAges::begin(Time now) {
  const std::optional<Time> due = deadline();
  const Time expected = due && stepped_ ? std::max(*due, *stepped_) : now;
  // Never twice in a row: however slow this loop is, it looks every other time.
  slept_ = !slept_ && now - expected > kSelfDoubtLag;
  if (slept_)
    for (auto& [name, word] : nodes_) word.told += now - expected;
  stepped_ = now;
}

bool ReportAges::told(Time now, const std::string& node) {
  return std::exchange(nodes_[node], Word{now, 0ns}).age != 0ns;
}

std::optional<ReportAges::Older> ReportAges::next_older(Time now) {
  if (slept_) return std::nullopt;
  for (auto& [name, word] : nodes_) {
    if (now - word.told < next(word)) continue;
    const bool newly = word.age == 0ns;
    while (now - word.told >= next(word)) word.age = next(word);
    return Older{name, newly};
  }
  return std::nullopt;
}

Duration ReportAges::age(const std::string& node) const {
  const auto found = nodes_.find(node);
  return found == nodes_.end() ? 0ns : found->second.age;
}

std::optional<Time> ReportAges::deadline() const {
  std::optional<Time> earliest;
  for (const auto& [name, word] : nodes_) {
    const Time at = word.told + next(word);
    if (!earliest || at < *earliest) earliest = at;
  }
  return earliest;
}

}  // namespace troupe
