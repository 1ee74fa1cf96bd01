// What a router believes of the prompt prefixes in each group's KV: what the group said, and what
// this router has just sent there and the group may not have told of yet. Wrong beliefs cost time,
// never correctness. Session affinity follows from it: the next turn of a conversation begins with
// what the last one left. Pure; owned by one Router.
//
// A report that is missed or damaged shows as a version in a later status: then the whole is asked
// for, at most once each kPrefixAskInterval. Bounds: kPrefixMarksMax marks a group, and
// kAffinityEntriesMax of what was sent, for kPrefixSentKept.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>

#include "cluster/mark_set.h"
#include "cluster/messages.h"
#include "cluster/prefix_marks.h"
#include "config/limits.h"
#include "config/time.h"

namespace troupe {

class GroupPrefixes {
 public:
  explicit GroupPrefixes(size_t sent_max = kAffinityEntriesMax) : sent_max_(sent_max) {}

  /// False: it does not follow what is known, nothing changed.
  bool heard(Time now, const PrefixReport& report);
  /// The group told of `version` in its status. True: ask it for the whole now.
  bool must_ask(Time now, GroupId group, uint64_t version);
  /// A prompt with these blocks is on its way there.
  void sent(Time now, GroupId group, std::span<const PrefixMark> prompt);
  /// Positions of the longest prefix of the prompt that the group probably has.
  int64_t cached_tokens(Time now, GroupId group, std::span<const PrefixMark> prompt);
  /// It is another process now: its KV is gone.
  void forget(GroupId group) { groups_.erase(group); }

  size_t told(GroupId group) const;        ///< marks that the group said
  size_t remembered(GroupId group) const;  ///< marks of what was sent
  uint64_t version(GroupId group) const;   ///< 0: nothing was heard

 private:
  struct Sent {
    std::unordered_map<PrefixMark, Time> newest;  ///< of those in `order`
    std::deque<std::pair<Time, PrefixMark>> order;
    void drop_oldest();
  };
  struct Group {
    uint64_t version = 0;
    MarkSet told;
    Sent sent;
    std::optional<Time> asked;
  };
  size_t sent_max_;
  std::map<GroupId, Group> groups_;
};

}  // namespace troupe
