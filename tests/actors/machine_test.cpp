#include "actors/machine.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "config/limits.h"

using namespace troupe;

namespace machine_test {

TEST_CASE("machine: what the process may take is read from the files of its cgroup's ancestors") {
  const std::filesystem::path root =
      std::filesystem::temp_directory_path() / ("machine-" + std::to_string(::getpid()));
  const auto write = [&](const char* path, const char* text) {
    const std::filesystem::path file = root.string() + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  };
  write("/proc/meminfo", "MemFree: 1 kB\nMemAvailable: 4194304 kB\n");
  CHECK(machine_facts(root.string()).memory_available == 4 * kGiB);
  write("/proc/self/cgroup", "0::/pod/one\n");
  write("/sys/fs/cgroup/pod/memory.max", "1073741824\n");
  write("/sys/fs/cgroup/pod/memory.current", "1073741824\n");
  write("/sys/fs/cgroup/pod/memory.stat", "anon 5\ninactive_file 1048576\nactive_file 0\n");
  write("/sys/fs/cgroup/pod/one/memory.max", "max\n");
  const MachineFacts inside = machine_facts(root.string());
  CHECK(inside.memory_available == kMiB);
  CHECK(inside.memory_limit == MemoryLimit::container);
  std::filesystem::remove_all(root);

  const MachineFacts here = machine_facts();
  CHECK(here.memory_available > 0);
  CHECK(here.cores >= 1);
}

}  // namespace machine_test
