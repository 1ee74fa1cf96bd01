// How much memory a process may still take, from what the kernel's files say: the least of the
// machine's and of each cgroup's (a container's, a service's) that the process is in. Pure; the
// shell reads the files. Bytes. Text that says nothing sensible limits nothing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

enum class MemoryLimit : uint8_t { machine, container };

/// Where the three texts of a cgroup are, from the root of the file system.
struct CgroupFiles {
  std::string limit, usage, stat;
};

/// Of each cgroup that limits the memory of a process, its own first, then that one's ancestors.
/// `own`: what /proc/self/cgroup says. Files may be missing: a root has none, and in a container
/// the path may be one of the host's. Cgroups are expected at /sys/fs/cgroup (v2), their memory
/// controller at /sys/fs/cgroup/memory (v1).
std::vector<CgroupFiles> cgroup_files(std::string_view own);

/// What the files hold; empty where there is none.
struct CgroupTexts {
  std::string limit, usage, stat;
};

struct MemoryRoom {
  int64_t bytes = 0;
  MemoryLimit limit = MemoryLimit::machine;  ///< whose memory it is that ends first
};

/// `meminfo`: what /proc/meminfo says; without its MemAvailable there is no room. File pages that
/// are charged to a cgroup count as free, as MemAvailable counts them: the kernel drops them first.
MemoryRoom memory_room(std::string_view meminfo, std::span<const CgroupTexts> cgroups);

}  // namespace troupe
