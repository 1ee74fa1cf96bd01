#include "tests/bench/scaling/modelled_cluster.h"

#include <doctest/doctest.h>

#include "tests/bench/scaling/workloads.h"

namespace troupe::scaling {
namespace modelled_cluster_test {
namespace {

ClusterShape shape_of(int routers, int groups, int32_t blocks, PlanTimer timer) {
  ClusterShape shape{.routers = routers, .groups = groups, .timer = std::move(timer)};
  shape.batcher.kv_blocks = blocks + 1;
  shape.batcher.max_rows = 512;
  shape.batcher.max_slots = 65;
  shape.batcher.prefill_chunk = 256;
  shape.batcher.context = 2048;
  shape.batcher.queue_max = 4096;
  shape.batcher.canary_interval = 2s;
  return shape;
}

PlanTime ten_ms(const StepPlan&) { return {{10ms}, {}}; }

PlanTime by_rows(const StepPlan& plan) {
  return {{2ms + 20us * static_cast<int>(plan.tokens.size())}, {}};
}

TEST_CASE("modelled cluster: one stream takes exactly the steps it needs") {
  ClusterShape shape = shape_of(1, 1, 64, ten_ms);
  shape.message = 1ms;
  ModelledCluster cluster(shape);
  const LoadResult r = run_burst(cluster, 1, 100, 11, 3);
  // The prompt in one step, its token back over one message; then ten steps without a gap. One
  // canary may be running when the request comes.
  CHECK(r.ttft_p50 >= 0.012);
  CHECK(r.ttft_p50 < 0.023);
  CHECK(r.gap_p50 == doctest::Approx(0.010));
  CHECK(r.gap_p99 == doctest::Approx(0.010));
  CHECK(r.answers == 1);
}

TEST_CASE("modelled cluster: stages of a pipeline overlap for plans of different lanes only") {
  const auto stages = [](const StepPlan&) { return PlanTime{{4ms, 6ms}, 1ms}; };
  ModelledDevice device(stages, 4096);
  StepPlan plan;
  CHECK(device.submit(Time{}, plan) == Time{11ms});
  CHECK(device.submit(Time{}, plan) == Time{22ms});  // the same lane: after it
  plan.key.lane = 1;
  CHECK(device.submit(Time{}, plan) == Time{28ms});  // behind the second plan on each stage
  CHECK(device.busy() == 30ms);
}

TEST_CASE("modelled cluster: equal seeds give equal runs, others do not") {
  const auto run = [](uint64_t seed) {
    ModelledCluster cluster(shape_of(2, 3, 600, by_rows));
    return run_closed(
        cluster, 2,
        {.streams = 20, .prompt_tokens = 200, .answer_tokens = 40, .spread = 1s, .seed = seed});
  };
  const LoadResult a = run(1), b = run(1), c = run(2);
  CHECK(a.tokens_per_second == b.tokens_per_second);
  CHECK(a.ttft_p95 == b.ttft_p95);
  CHECK(a.gap_p99 == b.gap_p99);
  CHECK(a.answers == b.answers);
  CHECK((a.ttft_p95 != c.ttft_p95 || a.tokens_per_second != c.tokens_per_second));
}

TEST_CASE("modelled cluster: throughput is what the device allows, and groups add up") {
  // A step takes 10 ms whatever is in it: 16 streams get 1,600 tokens a second less the steps in
  // which their prompts wait.
  const auto rate = [](int groups) {
    ModelledCluster cluster(shape_of(1, groups, 2000, ten_ms));
    return run_closed(cluster, 1,
                      {.streams = 16 * groups, .prompt_tokens = 64, .answer_tokens = 100})
        .tokens_per_second;
  };
  const double one = rate(1), four = rate(4);
  CHECK(one > 1500);
  CHECK(one <= 1600);
  CHECK(four == doctest::Approx(4 * one).epsilon(0.03));
}

TEST_CASE("prefix routing: four groups behind two routers hit nearly what one large group hits") {
  const SharedPrefixLoad load;
  const auto run = [&](int routers, int groups, Reports prefixes) {
    ClusterShape shape = shape_of(routers, groups, 4800 / groups, by_rows);
    shape.prefixes = prefixes;
    ModelledCluster cluster(shape);
    return run_shared_prefixes(cluster, routers, groups, load);
  };
  const PrefixResult one = run(1, 1, Reports::told), four = run(2, 4, Reports::told);
  const PrefixResult silent = run(2, 4, Reports::withheld);
  INFO("one " << one.hit_rate << " four " << four.hit_rate << " silent " << silent.hit_rate
              << " ideal " << one.ideal_rate << " busiest " << four.busiest_group);
  CHECK(one.answers == 64 * 6);
  CHECK(four.answers == 64 * 6);
  // The load is of the kind meant: most of it can be shared, and one group does.
  CHECK(one.ideal_rate > 0.75);
  CHECK(one.hit_rate >= 0.97 * one.ideal_rate);
  CHECK(four.hit_rate >= 0.9 * one.hit_rate);
  // It is what groups tell that does it: turns of a conversation come to either router.
  CHECK(silent.hit_rate < 0.9 * one.hit_rate);
  // And not by sending everything to one group.
  CHECK(four.busiest_group < 1.6);
}

}  // namespace
}  // namespace modelled_cluster_test
}  // namespace troupe::scaling
