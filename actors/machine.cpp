#include "actors/machine.h"

#include <algorithm>
#include <fstream>
#include <thread>
#include <vector>

#include "cluster/memory_room.h"

namespace troupe {

namespace {

/// The longest of them, /proc/meminfo and memory.stat, have some 2 KiB; what is beyond this is not
/// read.
constexpr size_t kKernelTextMax = 64 * 1024;

/// Empty if there is no such file.
std::string kernel_text(const std::string& path) {
  std::ifstream in(path);
  std::string text(kKernelTextMax, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(std::max<std::streamsize>(0, in.gcount())));
  return text;
}

}  // namespace

MachineFacts machine_facts(const std::string& root) {
  std::vector<CgroupTexts> cgroups;
  for (const CgroupFiles& files : cgroup_files(kernel_text(root + "/proc/self/cgroup")))
    cgroups.push_back({kernel_text(root + files.limit), kernel_text(root + files.usage),
                       kernel_text(root + files.stat)});
  const MemoryRoom room = memory_room(kernel_text(root + "/proc/meminfo"), cgroups);
  return {.memory_available = room.bytes,
          .cores = static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency())),
          .memory_limit = room.limit};
}

}  // namespace troupe
