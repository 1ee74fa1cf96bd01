#include "cluster/prefix_log.h"

#include <algorithm>
#include <utility>

namespace troupe {

void PrefixLog::added(PrefixMark mark) {
  if (held_.contains(mark)) return;
  if (held_.size() >= marks_max_) evicted(held_.next_victim());
  held_.insert(mark);
  note(mark, Change::added);
}

void PrefixLog::evicted(PrefixMark mark) {
  if (held_.erase(mark)) note(mark, Change::evicted);
}

void PrefixLog::note(PrefixMark mark, Change change) {
  if (too_many_) return;
  const auto [at, is_new] = changes_.try_emplace(mark, change);
  // Back to what was told last.
  if (!is_new && at->second != change) changes_.erase(at);
  if (changes_.size() <= marks_max_) return;
  too_many_ = true;
  changes_.clear();
}

std::optional<PrefixChange> PrefixLog::take() {
  if (!too_many_ && changes_.empty()) return std::nullopt;
  ++version_;
  if (std::exchange(too_many_, false)) return whole();
  PrefixChange change{.version = version_};
  for (const auto& [mark, what] : changes_)
    (what == Change::added ? change.added : change.evicted).push_back(mark);
  changes_.clear();
  std::ranges::sort(change.added);
  std::ranges::sort(change.evicted);
  return change;
}

PrefixChange PrefixLog::whole() const {
  return {.version = version_, .whole = true, .added = held_.sorted()};
}

}  // namespace troupe
