// What a batcher tells routers unasked, and when.
#include "tests/unit/batcher_rig.h"

using namespace troupe;
using test::prompt_of;
using test::Rig;
using test::small_config;

namespace batcher_status_test {
namespace {

/// To whom the statuses went since the first `before`.
std::vector<RouterId> told(const Rig& rig, size_t before) {
  std::vector<RouterId> routers;
  for (size_t i = before; i < rig.statuses.size(); ++i) routers.push_back(rig.statuses[i].first);
  return routers;
}

}  // namespace

TEST_CASE("batcher: linked routers are told how it does at once and in every interval") {
  Rig rig;
  rig.warm();
  const Time canary = rig.now + rig.config.canary_interval;
  rig.now += 10ms;
  CHECK(rig.batcher.deadline() == canary);  // nobody wants to know
  rig.join(RouterId(1));
  CHECK(told(rig, 0) == std::vector{RouterId(1)});
  const Time due = rig.now + kGroupStatusInterval;
  CHECK(rig.batcher.deadline() == due);
  // One who comes later hears at once and then with the others.
  rig.now += 50ms;
  rig.join(RouterId(2));
  CHECK(told(rig, 1) == std::vector{RouterId(2)});
  rig.now = due - 1ns;
  rig.tick();
  CHECK(rig.statuses.size() == 2);
  rig.now = due;
  rig.tick();
  CHECK(told(rig, 2) == std::vector{RouterId(1), RouterId(2)});
  CHECK(rig.batcher.deadline() == due + kGroupStatusInterval);
  // A late tick is not made up for.
  rig.now = due + 2 * kGroupStatusInterval;
  rig.input(batcher_in::RouterLost{RouterId(1)});
  CHECK(told(rig, 4) == std::vector{RouterId(2)});
  CHECK(rig.batcher.deadline() == std::min(rig.now + kGroupStatusInterval, canary));
  rig.input(batcher_in::RouterLost{RouterId(2)});
  rig.now += 10 * kGroupStatusInterval;
  rig.tick();
  CHECK(rig.statuses.size() == 5);
}

TEST_CASE("batcher: a step that ends when a status is due is counted in it") {
  Rig rig;
  rig.warm().join();
  rig.enqueue(rig.request(1, prompt_of(10), 5));
  rig.run_step(kGroupStatusInterval);
  REQUIRE(rig.statuses.size() == 2);
  CHECK(rig.statuses.back().second.steps_done == 2);
  CHECK(rig.statuses.back().second.last_step_age == 0s);
}

TEST_CASE("batcher: routers hear of a group that died or drained as of any other") {
  SUBCASE("dead") {
    Rig rig;
    rig.warm().join();
    rig.enqueue(rig.request(1, prompt_of(10), 5));
    rig.now += kStepDeadlineMax;
    rig.tick();
    REQUIRE(rig.faults.size() == 1);
    const size_t before = rig.statuses.size();
    REQUIRE(rig.batcher.deadline() == rig.now + kGroupStatusInterval);
    rig.next_status();
    CHECK(rig.statuses.size() == before + 1);
  }
  SUBCASE("drained") {
    Rig rig;
    rig.warm().join();
    rig.input(batcher_in::Drain{});
    REQUIRE(rig.drained == 1);
    rig.next_status();
    REQUIRE(rig.statuses.size() == 2);
    CHECK(rig.statuses.back().second.draining);
  }
}

TEST_CASE("batcher: what came and went in its KV is told before the status that counts it") {
  Rig rig;
  rig.warm().join(RouterId(1));
  rig.join(RouterId(2));
  rig.enqueue(rig.request(1, prompt_of(40), 2));
  rig.settle();
  rig.now += kGroupStatusInterval;
  BatcherEffects effects;
  rig.batcher.step(rig.now, batcher_in::Tick{}, effects);
  std::map<RouterId, uint64_t> version;
  for (const BatcherEffect& effect : effects) {
    const auto* to = std::get_if<batcher_out::ToRouter>(&effect);
    if (to == nullptr) continue;
    if (const auto* report = std::get_if<PrefixReport>(&to->message)) {
      CHECK(report->added.size() == 2);
      version[to->router] = report->version;
    } else if (const auto* status = std::get_if<GroupStatus>(&to->message)) {
      CHECK(status->prefix_version == version[to->router]);
    }
  }
  CHECK(version == std::map<RouterId, uint64_t>{{RouterId(1), 1}, {RouterId(2), 1}});
}

}  // namespace batcher_status_test
