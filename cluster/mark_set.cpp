#include "cluster/mark_set.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "config/check.h"

namespace troupe {

namespace {
constexpr size_t kFirstPlaces = 16;
}

size_t MarkSet::home_of(PrefixMark mark) const {
  return static_cast<size_t>(mark ^ mark >> 32) & (places_.size() - 1);
}

size_t MarkSet::place_of(PrefixMark mark) const {
  size_t at = home_of(mark);
  while (places_[at] != 0 && places_[at] != mark) at = (at + 1) & (places_.size() - 1);
  return at;
}

bool MarkSet::contains(PrefixMark mark) const {
  if (mark == 0) return has_zero_;
  return !places_.empty() && places_[place_of(mark)] == mark;
}

bool MarkSet::insert(PrefixMark mark) {
  if (mark == 0) return !std::exchange(has_zero_, true);
  if (4 * (used_ + 1) > 3 * places_.size()) grow();
  PrefixMark& place = places_[place_of(mark)];
  if (place == mark) return false;
  place = mark;
  ++used_;
  return true;
}

bool MarkSet::erase(PrefixMark mark) {
  if (!contains(mark)) return false;
  if (mark == 0) {
    has_zero_ = false;
    return true;
  }
  // Those behind it that were pushed on move up, so that no free place stands in their way.
  const size_t wrap = places_.size() - 1;
  size_t hole = place_of(mark);
  for (size_t at = (hole + 1) & wrap; places_[at] != 0; at = (at + 1) & wrap) {
    const size_t pushed = (at - home_of(places_[at])) & wrap;
    if (pushed < ((at - hole) & wrap)) continue;
    places_[hole] = places_[at];
    hole = at;
  }
  places_[hole] = 0;
  --used_;
  return true;
}

void MarkSet::grow() {
  std::vector<PrefixMark> old(std::max(kFirstPlaces, 2 * places_.size()));
  old.swap(places_);
  for (PrefixMark mark : old)
    if (mark != 0) places_[place_of(mark)] = mark;
}

PrefixMark MarkSet::next_victim() {
  TROUPE_CHECK(!empty(), used_);
  if (used_ == 0) return 0;
  do hand_ = (hand_ + 1) & (places_.size() - 1);
  while (places_[hand_] == 0);
  return places_[hand_];
}

std::vector<PrefixMark> MarkSet::sorted() const {
  std::vector<PrefixMark> all;
  all.reserve(size());
  if (has_zero_) all.push_back(0);
  std::ranges::copy_if(places_, std::back_inserter(all), [](PrefixMark m) { return m != 0; });
  std::ranges::sort(all);
  return all;
}

}  // namespace troupe
