#include "cluster/group_prefixes.h"

#include "model/step.h"

namespace troupe {

bool GroupPrefixes::heard(Time now, const PrefixReport& report) {
  Group& group = groups_[report.group];
  const uint64_t follows = group.version + 1;
  if (report.whole ? report.version < group.version : report.version != follows) return false;
  if (report.whole) {
    group.told.clear();
    group.asked.reset();
  }
  for (PrefixMark mark : report.evicted) {
    group.told.erase(mark);
    // What has just been sent may not have been there yet when this was said.
    const auto sent = group.sent.newest.find(mark);
    if (sent != group.sent.newest.end() && sent->second + kGroupStatusFresh <= now)
      group.sent.newest.erase(sent);
  }
  for (PrefixMark mark : report.added) group.told.insert(mark);
  group.version = report.version;
  // More than a group tells: it is not what it says.
  if (group.told.size() > kPrefixMarksMax) group.told.clear();
  return true;
}

bool GroupPrefixes::must_ask(Time now, GroupId id, uint64_t version) {
  Group& group = groups_[id];
  if (group.version == version) return false;
  if (group.asked && now < *group.asked + kPrefixAskInterval) return false;
  group.asked = now;
  return true;
}

void GroupPrefixes::sent(Time now, GroupId id, std::span<const PrefixMark> prompt) {
  Sent& sent = groups_[id].sent;
  for (PrefixMark mark : prompt) {
    sent.newest[mark] = now;
    sent.order.emplace_back(now, mark);
  }
  while (sent.order.size() > sent_max_) sent.drop_oldest();
}

int64_t GroupPrefixes::cached_tokens(Time now, GroupId id, std::span<const PrefixMark> prompt) {
  const auto found = groups_.find(id);
  if (found == groups_.end()) return 0;
  Group& group = found->second;
  while (!group.sent.order.empty() && group.sent.order.front().first + kPrefixSentKept <= now)
    group.sent.drop_oldest();
  int64_t blocks = 0;
  for (PrefixMark mark : prompt) {
    if (!group.told.contains(mark) && !group.sent.newest.contains(mark)) break;
    ++blocks;
  }
  return blocks * kBlockPositions;
}

void GroupPrefixes::Sent::drop_oldest() {
  const auto& [time, mark] = order.front();
  const auto at = newest.find(mark);
  if (at != newest.end() && at->second == time) newest.erase(at);
  order.pop_front();
}

size_t GroupPrefixes::told(GroupId id) const {
  const auto group = groups_.find(id);
  return group == groups_.end() ? 0 : group->second.told.size();
}

size_t GroupPrefixes::remembered(GroupId id) const {
  const auto group = groups_.find(id);
  return group == groups_.end() ? 0 : group->second.sent.order.size();
}

uint64_t GroupPrefixes::version(GroupId id) const {
  const auto group = groups_.find(id);
  return group == groups_.end() ? 0 : group->second.version;
}

}  // namespace troupe
