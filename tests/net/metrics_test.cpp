#include "net/metrics.h"

#include <doctest/doctest.h>

#include "tests/net/promtool.h"

namespace troupe {
namespace metrics_test {
namespace {

using testing::check_with_promtool;

BridgeState state() {
  BridgeState out;
  out.readiness = {true, "", {{"m", 2, 2, ""}}};
  for (uint32_t i = 0; i < 2; ++i) {
    GroupStatus group;
    group.group = GroupId(i);
    group.queued = 3;
    group.running = 4;
    group.blocks_used = 25;
    group.blocks_total = 100;
    group.blocks_cached = 30;
    group.phase_us = {1, 2'500'000, 3, 4};
    group.drafted = 9;
    group.drafts_right = 6;
    group.prompt_rows = 96;
    group.dropped = {3, 0, 2, 1};
    out.groups.emplace_back("m", group);
  }
  out.stats.queued = 7;
  out.redis = RedisStats{.hits = 21, .timed_out = 22, .unreadable = 23, .connected = true};
  return out;
}

Metrics& filled(Metrics& metrics) {
  metrics.answered("/v1/models", 200);
  metrics.answered("/v1/models", 200);
  metrics.first_token("m", 30ms);
  metrics.next_tokens("m", 40ms, 2);
  Timings timings;
  timings.prompt_tokens = 11;
  timings.generated_tokens = 5;
  metrics.finished("m", Finish::length, 2s, timings);
  metrics.failed("m", ErrorCode::unavailable);
  return metrics;
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("metrics: what happened stands in the text, under our names and vLLM's") {
  Metrics metrics("b1", "n1");
  const std::string text = filled(metrics).render(state(), {}, MetricsCompat::vllm);
  for (const char* line :
       {R"(troupe_http_requests_total{code="200",route="/v1/models"} 2)",
        R"(troupe_time_to_first_token_seconds_bucket{model_name="m",le="0.02"} 0)",
        R"(troupe_time_to_first_token_seconds_bucket{model_name="m",le="0.04"} 1)",
        R"(vllm:time_to_first_token_seconds_bucket{model_name="m",le="0.04"} 1)",
        R"(troupe_inter_token_latency_seconds_count{model_name="m"} 2)",
        R"(troupe_prompt_tokens_total{model_name="m"} 11)",
        R"(troupe_group_kv_blocks_by_state{model_name="m",group="1",state="free"} 45)",
        R"(troupe_group_step_phase_seconds_total{model_name="m",group="0",phase="layers"} 2.5)",
        R"(troupe_group_speculation_drafted_tokens_total{model_name="m",group="0"} 9)",
        R"(troupe_group_speculation_accepted_tokens_total{model_name="m",group="0"} 6)",
        R"(troupe_group_step_prompt_rows{model_name="m",group="0"} 96)",
        R"(troupe_group_messages_dropped_total{model_name="m",group="1",why="stale"} 3)",
        R"(troupe_group_messages_dropped_total{model_name="m",group="0",why="damaged"} 2)",
        R"(troupe_group_messages_dropped_total{model_name="m",group="0",why="not_accepted"} 0)",
        R"(vllm:generation_tokens_total{model_name="m"} 5)",
        R"(troupe_requests_queued 7)",
        R"(troupe_redis_operations_total{outcome="hit"} 21)",
        R"(troupe_redis_operations_total{outcome="timed_out"} 22)",
        R"(troupe_redis_operations_total{outcome="unreadable"} 23)",
        R"(troupe_redis_operations_total{outcome="foreign"} 0)",
        R"(troupe_redis_connected 1)",
        R"(vllm:num_requests_waiting{model_name="m"} 6)",
        R"(vllm:num_requests_running{model_name="m"} 8)",
        R"(vllm:kv_cache_usage_perc{model_name="m"} 0.25)",
        R"(troupe_build_info{build="b1",node="n1"} 1)",
        R"(troupe_groups_ready{model_name="m"} 2)"}) {
    CAPTURE(std::string(line));
    CHECK(has_line(text, line));
  }
}

TEST_CASE("metrics: a router without Redis has no series of it") {
  Metrics metrics("b1", "n1");
  BridgeState without = state();
  without.redis.reset();
  CHECK(filled(metrics).render(without, {}, MetricsCompat::none).find("redis_") ==
        std::string::npos);
}

TEST_CASE("metrics: promtool has nothing to say without the aliases") {
  Metrics metrics("b1", "n1");
  const std::string text = filled(metrics).render(state(), {}, MetricsCompat::none);
  CHECK(text.find("vllm:") == std::string::npos);
  check_with_promtool(text);
}

}  // namespace metrics_test
}  // namespace troupe
