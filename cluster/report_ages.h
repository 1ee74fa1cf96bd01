// How old the last word of each other node is. Its supervisor reports each kNodeReportInterval; one
// that hangs, or whose reports find no way, is noticed by that alone, because beats come from a
// thread of their own. Ages are told in steps that double, from kNodeReportStale on, so that who
// shows them need not change with every moment. A step that comes later than deadline() by more
// than kSelfDoubtLag means that this process slept: what others said meanwhile is heard first.
// Pure; of NodePeers. Bounded by the nodes that have joined.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "config/limits.h"

namespace troupe {

class ReportAges {
 public:
  explicit ReportAges(double timing_scale) : stale_(scaled(kNodeReportStale, timing_scale)) {}

  /// Ahead of what a step brings.
  void begin(Time now);
  /// It said something, or it is to from now on. True: it was stale.
  bool told(Time now, const std::string& node);
  void forget(const std::string& node) { nodes_.erase(node); }
  struct Older {
    std::string node;
    bool newly = false;  ///< it was fresh
  };
  /// At the end of a step: the next node that has come to another step of age, or nothing more.
  std::optional<Older> next_older(Time now);

  /// At least so old is its last word; zero: it is fresh.
  Duration age(const std::string& node) const;
  std::optional<Time> deadline() const;

 private:
  struct Word {
    Time told{};
    Duration age{};
  };
  Duration next(const Word& word) const { return word.age == 0ns ? stale_ : 2 * word.age; }

  Duration stale_;
  std::map<std::string, Word> nodes_;
  std::optional<Time> stepped_;  ///< the latest step
  bool slept_ = false;           ///< nothing counts as old in it
};

}  // namespace troupe
