#include "cluster/mark_set.h"

#include <doctest/doctest.h>

#include <random>
#include <set>

using namespace troupe;

namespace mark_set_test {
namespace {

/// Marks of a few homes each, so that many push each other on.
PrefixMark crowded(std::mt19937_64& random) {
  return random() % 7 * 0x1'0000 + random() % 5 + (random() % 3 << 40);
}

void run_against_a_set(PrefixMark (*draw)(std::mt19937_64&), size_t size_max) {
  const uint64_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  MarkSet marks;
  std::set<PrefixMark> oracle;
  for (int i = 0; i < 20'000; ++i) {
    const PrefixMark mark = draw(random);
    switch (random() % 5) {
      case 0:
      case 1:
        if (oracle.size() >= size_max && !oracle.contains(mark)) {
          const PrefixMark victim = marks.next_victim();
          REQUIRE(oracle.erase(victim) == 1);
          REQUIRE(marks.erase(victim));
        }
        REQUIRE(marks.insert(mark) == oracle.insert(mark).second);
        break;
      case 2:
      case 3:
        REQUIRE(marks.erase(mark) == (oracle.erase(mark) == 1));
        break;
      default:
        REQUIRE(marks.contains(mark) == oracle.contains(mark));
    }
    REQUIRE(marks.size() == oracle.size());
  }
  CHECK(marks.sorted() == std::vector<PrefixMark>(oracle.begin(), oracle.end()));
  marks.clear();
  CHECK(marks.empty());
  for (PrefixMark mark : oracle) CHECK_FALSE(marks.contains(mark));
}

}  // namespace

TEST_CASE("mark set: does what a set does, also where many marks want one place") {
  run_against_a_set(crowded, 1'000);
  run_against_a_set(crowded, 20);
  run_against_a_set([](std::mt19937_64& random) { return random() % 3; }, 2);  // 0 is a mark too
  run_against_a_set([](std::mt19937_64& random) -> PrefixMark { return random() % 4'000 << 32; },
                    4'000);
}

TEST_CASE("mark set: victims go round, so that nobody is always the one") {
  MarkSet marks;
  for (PrefixMark mark = 1; mark <= 100; ++mark) marks.insert(mark);
  std::set<PrefixMark> victims;
  for (int i = 0; i < 100; ++i) victims.insert(marks.next_victim());
  CHECK(victims.size() == 100);
}

}  // namespace mark_set_test
