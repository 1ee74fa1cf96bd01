// Whether this node may be the one that is cut off. If of the nodes that were in a moment ago those
// it still hears, itself among them, are the smaller part, then it is likelier cut off than all of
// them dead. Half of two, or of four, says nothing: neither side can tell. Who is in doubt serves
// on and moves its own streams by what it sees, because attempts guard them; but it says that it is
// not ready, so that clients who can choose go to the others. Nodes that fell one after another, or
// said that they would go, raise no doubt.
// Pure; of NodePeers. Bounded by the configured nodes.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>

#include "config/limits.h"

namespace troupe {

class SelfDoubt {
 public:
  /// `others`: nodes of the config beside this one.
  SelfDoubt(size_t others, double timing_scale)
      : others_(others), window_(scaled(kDeadAfter, timing_scale)) {}

  void heard(const std::string& node);
  void fell_silent(Time now, const std::string& node);
  /// It is silent because it ended as it said.
  void left(const std::string& node);

  bool cut_off() const;
  /// For people; empty: nothing to say.
  std::string remark() const;

 private:
  size_t others_;
  Duration window_;
  std::set<std::string> heard_;
  std::map<std::string, Time> fallen_;  ///< in one window, and not heard since
};

}  // namespace troupe
