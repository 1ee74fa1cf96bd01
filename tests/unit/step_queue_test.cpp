// Plans in the order of their tickets, however often the ring has gone round, and without memory.
#include "model/step_queue.h"

#include <doctest/doctest.h>

#include <thread>
#include <vector>

#include "tests/unit/allocations.h"

using namespace troupe;

namespace step_queue_test {

TEST_CASE("step queue: plans leave in the order they came, and only the oldest does") {
  for (int32_t stages : {1, 3, kCollectiveRanksMax}) {
    CAPTURE(stages);
    const auto most = static_cast<size_t>(plans_in_flight_max(stages));
    std::vector<StepPlan> plans(most);
    StepQueue queue;
    queue.serve_stages(stages);
    CHECK(queue.peek(0) == nullptr);
    CHECK_FALSE(queue.is_oldest(Ticket{1}));
    uint64_t came = 0, left = 0;
    // Some places are always taken, so that the ring's ends meet at every place.
    for (size_t round = 0; round < 5 * most; ++round) {
      while (came - left < most) {
        REQUIRE(queue.push(plans[came % most]).value == came + 1);
        ++came;
      }
      for (size_t i = 0; i < most; ++i) REQUIRE(queue.peek(i) == &plans[(left + i) % most]);
      REQUIRE(queue.peek(most) == nullptr);
      REQUIRE(queue.pop(Ticket{left + 2}) == nullptr);
      for (size_t i = 0; i < 1 + round % most; ++i, ++left) {
        REQUIRE(queue.is_oldest(Ticket{left + 1}));
        REQUIRE(queue.pop(Ticket{left + 1}) == &plans[left % most]);
        REQUIRE(queue.pop(Ticket{left + 1}) == nullptr);
      }
    }
  }
}

TEST_CASE("step queue: plans come and go without an allocation") {
  StepQueue queue;
  const StepPlan plan;
  const uint64_t before = test::allocations_of_this_thread();
  bool all = true;
  for (uint64_t i = 1; i <= 1'000; ++i) {
    queue.push(plan);
    all &= queue.pop(Ticket{i}) == &plan;
  }
  const uint64_t after = test::allocations_of_this_thread();
  CHECK(all);
  CHECK(after == before);
}

TEST_CASE("step queue: abort wakes a sleeper, and is seen by whoever asks later") {
  StepQueue queue;
  CHECK_FALSE(queue.aborted());
  CHECK(queue.sleep(1us));
  bool slept = true;
  std::thread sleeper([&] { slept = queue.sleep(3600s); });
  queue.abort();
  sleeper.join();
  CHECK_FALSE(slept);
  CHECK(queue.aborted());
  CHECK_FALSE(queue.sleep(3600s));
}

}  // namespace step_queue_test
