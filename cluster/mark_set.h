// A set of prefix marks in as little memory as they need: both ends of every group's link hold one,
// and most of a router's or batcher's memory at rest would be the nodes of a hash table. Open
// addressing, at most three quarters full, so 11 to 22 bytes a mark. Pure.
#pragma once

#include <cstddef>
#include <vector>

#include "cluster/prefix_marks.h"

namespace troupe {

class MarkSet {
 public:
  bool insert(PrefixMark mark);  ///< false: it was there
  bool erase(PrefixMark mark);   ///< false: it was not
  bool contains(PrefixMark mark) const;
  void clear() { *this = MarkSet(); }
  size_t size() const { return used_ + (has_zero_ ? 1 : 0); }
  bool empty() const { return size() == 0; }
  /// One of them, by turns: whom to give up when there are too many. Not of an empty set.
  PrefixMark next_victim();
  std::vector<PrefixMark> sorted() const;

 private:
  /// Where it is, or the free place where it would go. There is one.
  size_t place_of(PrefixMark mark) const;
  size_t home_of(PrefixMark mark) const;
  void grow();

  std::vector<PrefixMark> places_;  ///< a power of two; 0: free
  size_t used_ = 0;                 ///< of places_
  bool has_zero_ = false;           ///< the mark that stands for a free place
  size_t hand_ = 0;                 ///< where the next victim is looked for
};

}  // namespace troupe
