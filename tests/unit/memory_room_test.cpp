#include "cluster/memory_room.h"

#include <doctest/doctest.h>

#include "config/limits.h"

using namespace troupe;

namespace memory_room_test {
namespace {

constexpr char kMeminfo[] =
    "MemTotal:       24000000 kB\nMemFree:          500000 kB\nMemAvailable:    2097152 kB\n"
    "Buffers:           12345 kB\n";
constexpr int64_t kMachine = 2 * kGiB;

MemoryRoom room(std::vector<CgroupTexts> cgroups) { return memory_room(kMeminfo, cgroups); }

void check_room(const MemoryRoom& room, int64_t bytes, MemoryLimit limit) {
  CHECK(room.bytes == bytes);
  CHECK(room.limit == limit);
}

std::vector<std::string> limits_of(std::string_view own) {
  std::vector<std::string> paths;
  for (const CgroupFiles& files : cgroup_files(own)) paths.push_back(files.limit);
  return paths;
}

}  // namespace

TEST_CASE("memory room: without a cgroup that limits it is the machine's") {
  check_room(room({}), kMachine, MemoryLimit::machine);
  check_room(room({{"max\n", "1000\n", ""}, {"", "", ""}}), kMachine, MemoryLimit::machine);
  // What v1 says for no limit.
  check_room(room({{"9223372036854771712\n", "1000\n", ""}}), kMachine, MemoryLimit::machine);
  check_room(room({{"3221225472\n", "0\n", ""}}), kMachine, MemoryLimit::machine);
}

TEST_CASE("memory room: a container's is its limit less what it uses") {
  check_room(room({{"1073741824\n", "73741824\n", "anon 1\n"}}), 1'000'000'000,
             MemoryLimit::container);
  check_room(room({{"1000\n", "1000\n", ""}}), 0, MemoryLimit::container);
  check_room(room({{"1000\n", "5000\n", ""}}), 0, MemoryLimit::container);
  check_room(room({{"1000", "", ""}}), 1000, MemoryLimit::container);  // usage unknown
}

TEST_CASE("memory room: an ancestor's limit holds too, whichever is the least") {
  check_room(room({{"max", "5", ""}, {"1000", "400", ""}, {"2000", "1900", ""}, {"max", "", ""}}),
             100, MemoryLimit::container);
  check_room(room({{"700", "0", ""}, {"1000", "0", ""}}), 700, MemoryLimit::container);
}

TEST_CASE("memory room: pages of files that a cgroup is charged for are free") {
  constexpr char kStat[] =
      "anon 100\nfile 900\ninactive_file 500\nactive_file 300\nunevictable 7\n";
  check_room(room({{"2000", "1000", kStat}}), 1800, MemoryLimit::container);
  check_room(room({{"2000", "600", kStat}}), 2000, MemoryLimit::container);  // a later look
  // v1: sums of the subtree beside the cgroup's own.
  check_room(room({{"2000", "1000",
                    "cache 900\ninactive_file 10\nactive_file 0\ntotal_cache 900\n"
                    "total_inactive_file 500\ntotal_active_file 300\n"}}),
             1800, MemoryLimit::container);
}

TEST_CASE("memory room: text that says nothing sensible limits nothing") {
  for (const char* limit : {"", "\n", "max", "maximum", "-1", "-1000\n", "12abc", "0x100", "1e3",
                            "99999999999999999999999999", "\xff\xfe", "no such file"}) {
    CAPTURE(limit);
    check_room(room({{limit, "10", ""}}), kMachine, MemoryLimit::machine);
  }
  for (const char* usage : {"max", "-5", "x", "99999999999999999999999999"}) {
    CAPTURE(usage);
    check_room(room({{"1000", usage, ""}}), 1000, MemoryLimit::container);
  }
  for (const char* stat : {"inactive_file", "inactive_file \n", "inactive_file x\nactive_file -5\n",
                           "inactive_files 100\n", "my_inactive_file 100\n"}) {
    CAPTURE(stat);
    check_room(room({{"1000", "400", stat}}), 600, MemoryLimit::container);
  }
  constexpr char kHuge[] = "inactive_file 9223372036854775807\nactive_file 9223372036854775807\n";
  check_room(room({{"1000", "400", kHuge}}), 1000, MemoryLimit::container);
}

TEST_CASE("memory room: a machine that says nothing has none") {
  for (const char* meminfo :
       {"", "MemTotal: 100 kB\n", "MemAvailable:\n", "MemAvailable: many kB\n",
        "MemAvailable: -3 kB\n", "NotMemAvailable: 100 kB\n"}) {
    CAPTURE(meminfo);
    check_room(memory_room(meminfo, {}), 0, MemoryLimit::machine);
  }
  CHECK(memory_room("MemAvailable: 9223372036854775807 kB", {}).bytes > kMachine);
}

TEST_CASE("memory room: the files of a cgroup and of each of its ancestors") {
  CHECK(limits_of("0::/system.slice/troupe.service\n") ==
        std::vector<std::string>{"/sys/fs/cgroup/system.slice/troupe.service/memory.max",
                                 "/sys/fs/cgroup/system.slice/memory.max",
                                 "/sys/fs/cgroup/memory.max"});
  const auto own = cgroup_files("0::/a");
  REQUIRE(own.size() == 2);
  CHECK(own[0].usage == "/sys/fs/cgroup/a/memory.current");
  CHECK(own[0].stat == "/sys/fs/cgroup/a/memory.stat");
  CHECK(limits_of("0::/\n") == std::vector<std::string>{"/sys/fs/cgroup/memory.max"});
  CHECK(limits_of("9:name=systemd:/x\n5:cpu,memory:/pod/one\n3:memory_not:/y\n2:cpu:/z\n") ==
        std::vector<std::string>{"/sys/fs/cgroup/memory/pod/one/memory.limit_in_bytes",
                                 "/sys/fs/cgroup/memory/pod/memory.limit_in_bytes",
                                 "/sys/fs/cgroup/memory/memory.limit_in_bytes"});
  CHECK(cgroup_files("4:memory:/")[0].usage == "/sys/fs/cgroup/memory/memory.usage_in_bytes");
  CHECK(limits_of("0::/a:b") ==
        std::vector<std::string>{"/sys/fs/cgroup/a:b/memory.max", "/sys/fs/cgroup/memory.max"});
}

TEST_CASE("memory room: a path that leads out of the mount, or none, means its root") {
  for (const char* own : {"0::/../../other\n", "0::\n", "0::relative\n", "0::/\n0::"}) {
    CAPTURE(own);
    for (const std::string& path : limits_of(own)) CHECK(path == "/sys/fs/cgroup/memory.max");
    CHECK(!limits_of(own).empty());
  }
  for (const char* own : {"", "\n", "0:", "garbage", "::::"}) {
    CAPTURE(own);
    CHECK(limits_of(own).size() <= 1);  // "::::" reads as a path without a name
  }
}

}  // namespace memory_room_test
