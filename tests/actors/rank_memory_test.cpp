// How the memory that ranks share comes to the lane of each: over the lifeline, under its
// generation.
#include "actors/rank_memory.h"

#include <doctest/doctest.h>
#include <fcntl.h>

#include <future>
#include <thread>

#include "actors/lifeline.h"
#include "config/limits.h"

using namespace troupe;

namespace rank_memory_test {
namespace {

std::shared_ptr<ShmMap> memory_of(uint32_t generation) {
  auto map = ShmMap::create(2, generation);
  REQUIRE(map.has_value());
  return *map;
}
FileDescriptor descriptor_of(const ShmMap& map) {
  return FileDescriptor(::fcntl(map.descriptor(), F_DUPFD_CLOEXEC, 0));
}

}  // namespace

TEST_CASE("rank memory: a rank gets what was left for its generation") {
  RankMemory memory;
  memory.put(GroupId(2), Generation(5), descriptor_of(*memory_of(5)));
  const auto map = memory.take(GroupId(2), Generation(5), 0s);
  REQUIRE(map.has_value());
  CHECK((*map)->generation() == 5);
}

TEST_CASE("rank memory: what belongs to another generation or group is passed over") {
  RankMemory memory;
  Generation left(4);
  GroupId group(2);
  SUBCASE("an older generation") {}
  SUBCASE("a newer one") { left = Generation(6); }
  SUBCASE("another group") {
    left = Generation(5);
    group = GroupId(3);
  }
  memory.put(group, left, descriptor_of(*memory_of(left.value)));
  const auto map = memory.take(GroupId(2), Generation(5), 1ms);
  REQUIRE(!map.has_value());
  CHECK(map.error().code == ErrorCode::deadline_exceeded);
  CHECK(map.error().message ==
        "the memory that the ranks of generation 5 share did not come from the node; its log says "
        "why");
  memory.put(GroupId(2), Generation(5), descriptor_of(*memory_of(5)));
  CHECK(memory.take(GroupId(2), Generation(5), 0s).has_value());
}

TEST_CASE("rank memory: a false label is found out") {
  RankMemory memory;
  memory.put(GroupId(2), Generation(5), descriptor_of(*memory_of(4)));
  const auto map = memory.take(GroupId(2), Generation(5), 0s);
  REQUIRE(!map.has_value());
  CHECK(map.error().code == ErrorCode::data_loss);
  CHECK(map.error().message.find("generation 5 was made for generation 4") != std::string::npos);
}

TEST_CASE("rank memory: the end lets a waiting lane go") {
  RankMemory memory;
  auto waiting =
      std::async(std::launch::async, [&] { return memory.take(GroupId(2), Generation(5), 600s); });
  memory.end();
  const auto map = waiting.get();
  REQUIRE(!map.has_value());
  CHECK(map.error().code == ErrorCode::aborted);
}

TEST_CASE("lifeline: memory arrives as one and the same, with its generation") {
  auto pair = make_lifeline();
  REQUIRE(pair.has_value());
  FileDescriptor node_end(pair->node_end);
  RankMemory memory;
  std::promise<void> ended;
  LifelineEvents events;
  events.end = [&] { ended.set_value(); };
  events.memory = [&](GroupId group, Generation generation, FileDescriptor shared) {
    memory.put(group, generation, std::move(shared));
  };
  ChildLifeline child(pair->child_end, Incarnation(9), std::move(events));
  const auto map = memory_of(5);
  CHECK(send_memory(node_end.get(), GroupId(2), Generation(5), map->descriptor()));
  const auto got = memory.take(GroupId(2), Generation(5), 60s);
  REQUIRE(got.has_value());
  map->abort();
  CHECK((*got)->control().aborted.load() == 1);
  send_end(node_end.get());  // packets behind it are heard too
  ended.get_future().wait();
}

}  // namespace rank_memory_test
