#include "cluster/prefix_log.h"

#include <algorithm>
#include <utility>

namespace troupe {

void PrefixLog::added(PrefixMark mark) {
  const auto [at, is_new] = held_.try_emplace(mark);
  if (!is_new) return;
  at->second = order_.insert(order_.end(), mark);
  note(mark, Change::added);
  if (held_.size() > marks_max_) evicted(order_.front());
}

void PrefixLog::evicted(PrefixMark mark) {
  const auto at = held_.find(mark);
  if (at == held_.end()) return;
  order_.erase(at->second);
  held_.erase(at);
  note(mark, Change::evicted);
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
  PrefixChange all{.version = version_, .whole = true};
  all.added.assign(order_.begin(), order_.end());
  return all;
}

}  // namespace troupe
