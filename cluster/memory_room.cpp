#include "cluster/memory_room.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include "config/limits.h"

namespace troupe {

namespace {

/// Calls `visit` with each line.
template <class Visit>
void each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    visit(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

/// The number that a text starts with and that ends at its end or a space.
std::optional<int64_t> amount(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = end == text.data() + text.size() || *end == ' ' || *end == '\n';
  if (error != std::errc() || !whole || value < 0) return std::nullopt;
  return value;
}

/// Of the line `key value`, 0 if there is none.
int64_t amount_of(std::string_view text, std::string_view key) {
  int64_t found = 0;
  each_line(text, [&](std::string_view line) {
    if (line.starts_with(key) && line.substr(key.size()).starts_with(' '))
      found = amount(line.substr(key.size())).value_or(0);
  });
  return found;
}

/// Nothing where a cgroup does not limit.
std::optional<int64_t> room_of(const CgroupTexts& texts) {
  const auto limit = amount(texts.limit);  // v2 says "max" where there is none
  if (!limit) return std::nullopt;
  const int64_t usage = amount(texts.usage).value_or(0);
  int64_t droppable = 0;
  // v1 has its subtree's sums under names of their own, and the cgroup's alone under v2's.
  for (const char* key : {"inactive_file", "active_file"}) {
    const int64_t subtree = amount_of(texts.stat, std::string("total_") + key);
    const int64_t pages = std::max(subtree, amount_of(texts.stat, key));
    droppable += std::min(pages, std::numeric_limits<int64_t>::max() - droppable);
  }
  return std::max<int64_t>(0, *limit - std::max<int64_t>(0, usage - droppable));
}

/// Of `path` and each of its ancestors, under where the controller is mounted.
void add_files(std::vector<CgroupFiles>& all, const std::string& mount, std::string path,
               const CgroupFiles& names) {
  // A process outside its namespace's root sees a path that leads out of the mount.
  if (!path.starts_with('/') || path.contains("..")) path.clear();
  while (path.ends_with('/')) path.pop_back();
  for (;;) {
    const std::string folder = mount + path + '/';
    all.push_back({folder + names.limit, folder + names.usage, folder + names.stat});
    if (path.empty()) return;
    path.resize(path.rfind('/'));
  }
}

}  // namespace

std::vector<CgroupFiles> cgroup_files(std::string_view own) {
  std::vector<CgroupFiles> all;
  each_line(own, [&](std::string_view line) {  // hierarchy:controllers:path
    const size_t first = line.find(':');
    if (first == std::string_view::npos) return;
    const size_t second = line.find(':', first + 1);
    if (second == std::string_view::npos) return;
    const std::string controllers = ',' + std::string(line.substr(first + 1, second - first - 1));
    const std::string path(line.substr(second + 1));
    if (controllers == ",")
      add_files(all, "/sys/fs/cgroup", path, {"memory.max", "memory.current", "memory.stat"});
    else if ((controllers + ',').contains(",memory,"))
      add_files(all, "/sys/fs/cgroup/memory", path,
                {"memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"});
  });
  return all;
}

MemoryRoom memory_room(std::string_view meminfo, std::span<const CgroupTexts> cgroups) {
  const int64_t kib = amount_of(meminfo, "MemAvailable:");
  MemoryRoom room{.bytes = std::min(kib, std::numeric_limits<int64_t>::max() / kKiB) * kKiB};
  for (const CgroupTexts& texts : cgroups)
    if (const auto left = room_of(texts); left && *left < room.bytes)
      room = {*left, MemoryLimit::container};
  return room;
}

}  // namespace troupe
