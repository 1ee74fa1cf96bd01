// What a group tells routers of its prefix index: the marks of its blocks, and what changed since
// it last told. Changes are net: a block that came and went in between is not mentioned. Owned by
// one Batcher. Bound: kPrefixMarksMax marks are told; with more, others are told to be gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "cluster/mark_set.h"
#include "config/limits.h"

namespace troupe {

struct PrefixChange {
  uint64_t version = 0;  ///< that this makes; changes apply to version - 1
  bool whole = false;    ///< `added` is all there is
  std::vector<PrefixMark> added, evicted;
};

class PrefixLog {
 public:
  explicit PrefixLog(size_t marks_max = kPrefixMarksMax) : marks_max_(marks_max) {}

  void added(PrefixMark mark);
  void evicted(PrefixMark mark);

  /// What changed since the last call, as a version of its own; nullopt: nothing.
  std::optional<PrefixChange> take();
  /// All of it as of now, ascending, under the newest version. The next take() may repeat some of
  /// it, which changes nothing.
  PrefixChange whole() const;
  uint64_t version() const { return version_; }
  size_t size() const { return held_.size(); }

 private:
  enum class Change : uint8_t { added, evicted };
  void note(PrefixMark mark, Change change);

  size_t marks_max_;
  MarkSet held_;
  std::unordered_map<PrefixMark, Change> changes_;  ///< since `version_`
  bool too_many_ = false;                           ///< changes to list: the next take() is whole
  uint64_t version_ = 0;
};

}  // namespace troupe
