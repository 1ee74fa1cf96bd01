// Predictions of the modelled cluster as JSON on standard output.
//   scaling routing                 hit rates of prefix-affine routing over groups
//   scaling gpu                     70B and 405B on 8 to 64 GPUs
//   scaling cpu KEY=VALUE...        one burst on groups of this machine's native engine
// For cpu: decode=1:0.004,16:0.02 prompt_row=0.0005 streams=16 prompt=128 answer=128 groups=1
// tensor=1 pipeline=1 exchange=0 hop=0 bandwidth=3e10 kv=23040 rows=512. See docs/scaling.md.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "tests/bench/scaling/cpu_table.h"
#include "tests/bench/scaling/hardware.h"
#include "tests/bench/scaling/workloads.h"

namespace {

using namespace troupe;
using namespace troupe::scaling;

BatcherConfig group_config(int32_t blocks, int32_t rows, int32_t slots, int32_t context) {
  BatcherConfig config;
  config.kv_blocks = blocks;
  config.max_rows = rows;
  config.max_slots = slots;
  config.prefill_chunk = std::min(rows, 256);
  config.context = context;
  config.queue_max = kBatcherQueueMax;
  config.canary_interval = 2s;
  return config;
}

std::string json(const LoadResult& r) {
  return fmt::format(
      "\"tokens_per_second\":{:.1f},\"ttft_p50\":{:.5f},\"ttft_p95\":{:.5f},\"gap_p50\":{:.6f},"
      "\"gap_p99\":{:.6f},\"answers\":{}",
      r.tokens_per_second, r.ttft_p50, r.ttft_p95, r.gap_p50, r.gap_p99, r.answers);
}

/// A small GPU-like step: 2 ms and 20 us a row.
PlanTime small_step(const StepPlan& plan) {
  return {{2ms + 20us * static_cast<int>(plan.tokens.size())}, {}};
}

void routing() {
  const SharedPrefixLoad load;
  std::string rows;
  for (const int32_t total_blocks : {4800, 2400, 1200}) {
    for (const auto& [routers, groups] : {std::pair{1, 1}, {1, 4}, {2, 4}}) {
      ClusterShape shape{.routers = routers, .groups = groups, .timer = small_step};
      shape.batcher = group_config(total_blocks / groups + 1, 512, 65, 2048);
      ModelledCluster cluster(shape);
      const PrefixResult r = run_shared_prefixes(cluster, routers, groups, load);
      rows += fmt::format(
          "{}\n{{\"routers\":{},\"groups\":{},\"kv_blocks\":{},\"hit_rate\":{:.4f},\"ideal\":{:.4f}"
          ","
          "\"answers\":{},\"preemptions\":{},\"ttft_p50\":{:.5f},\"ttft_p95\":{:.5f},"
          "\"busiest_group\":{:.3f}}}",
          rows.empty() ? "" : ",", routers, groups, total_blocks, r.hit_rate, r.ideal_rate,
          r.answers, r.preemptions, r.ttft_p50, r.ttft_p95, r.busiest_group);
    }
  }
  fmt::print("{{\"routing\":[{}]}}\n", rows);
}

struct GpuCase {
  ModelShape model;
  Layout layout;
};

std::string run_gpu(const GpuCase& c, int gpus, int streams_per_gpu, double read_share) {
  const StepTime time(c.model, h100(c.model.weight_bytes, read_share), nvlink(), c.layout);
  const int groups = gpus / c.layout.devices();
  const int streams = std::max(1, streams_per_gpu * gpus);
  const auto blocks = static_cast<int32_t>(std::min<int64_t>(
      time.kv_positions(0.9) / kBlockPositions, static_cast<int64_t>(kPrefixMarksMax)));
  ClusterShape shape{.routers = 2, .groups = groups};
  shape.batcher = group_config(blocks, 2048, 512, 8192);
  shape.batcher.lanes = c.layout.pipeline;
  shape.timer = [&time](const StepPlan& plan) {
    const StepLoad load = load_of(plan);
    PlanTime all;
    const auto ns = [](double s) { return Duration(static_cast<int64_t>(s * 1e9)); };
    for (int s = 0; s < time.layout().pipeline; ++s)
      all.stages.push_back(ns(time.stage(s, load).total()));
    all.hop = ns(time.hop(load));
    return all;
  };
  ModelledCluster cluster(shape);
  const ClosedLoad load{.streams = streams_per_gpu == 0 ? 1 : streams};
  const LoadResult r = run_closed(cluster, 2, load);
  return fmt::format(
      "{{\"model\":\"{}\",\"tensor\":{},\"pipeline\":{},\"groups\":{},\"gpus\":{},\"streams\":{},"
      "\"read_share\":{:.2f},\"kv_positions\":{},{}}}",
      c.model.name, c.layout.tensor, c.layout.pipeline, groups, gpus, load.streams, read_share,
      time.kv_positions(0.9), json(r));
}

void gpu() {
  const std::vector<GpuCase> cases{
      {llama_70b(1), {2, 1}},  {llama_70b(1), {4, 1}},   {llama_70b(1), {8, 1}},
      {llama_70b(2), {4, 1}},  {llama_70b(2), {8, 1}},   {llama_405b(1), {8, 1}},
      {llama_405b(1), {8, 2}}, {llama_405b(1), {16, 1}}, {llama_405b(2), {8, 2}}};
  std::string rows;
  const auto add = [&](const std::string& row) {
    rows += (rows.empty() ? "\n" : ",\n") + row;
    std::fputs(".", stderr);
  };
  for (const GpuCase& c : cases) {
    for (int gpus = 8; gpus <= 64; gpus *= 2)
      if (gpus >= c.layout.devices()) add(run_gpu(c, gpus, 16, 0.7));
    // What the least certain figure does, and what load does, on 16 GPUs.
    for (const double share : {0.6, 0.8}) add(run_gpu(c, 16, 16, share));
    for (const int streams : {0, 1, 4, 64}) add(run_gpu(c, 16, streams, 0.7));
  }
  std::fputs("\n", stderr);
  fmt::print("{{\"gpu\":[{}]}}\n", rows);
}

int cpu(int argc, char** argv) {
  std::map<std::string, std::string> given{
      {"decode", ""},    {"prompt_row", "0"}, {"streams", "1"},      {"prompt", "128"},
      {"answer", "128"}, {"groups", "1"},     {"tensor", "1"},       {"pipeline", "1"},
      {"exchange", "0"}, {"hop", "0"},        {"bandwidth", "3e10"}, {"kv", "23040"},
      {"rows", "512"}};
  for (int i = 0; i < argc; ++i) {
    const std::string text = argv[i];
    const size_t at = text.find('=');
    if (at == std::string::npos || !given.contains(text.substr(0, at))) {
      fmt::print(stderr, "scaling: '{}' is none of the settings; see the top of scaling.cpp\n",
                 text);
      return 2;
    }
    given[text.substr(0, at)] = text.substr(at + 1);
  }
  const auto number = [&](const char* key) { return std::atof(given.at(key).c_str()); };
  const auto decode = parse_decode(given.at("decode"));
  if (!decode || number("prompt_row") <= 0) {
    fmt::print(stderr, "scaling: {}\n",
               decode ? "give prompt_row in seconds" : decode.error().message);
    return 2;
  }
  CpuTable table;
  table.decode = *decode;
  table.prompt_row = number("prompt_row");
  table.kv_per_position = number("kv");
  table.bandwidth = number("bandwidth");
  table.exchange = number("exchange");
  table.hop = number("hop");
  table.tensor = static_cast<int>(number("tensor"));
  table.pipeline = static_cast<int>(number("pipeline"));
  ClusterShape shape{.groups = static_cast<int>(number("groups")), .timer = table};
  shape.batcher = group_config(8192, static_cast<int32_t>(number("rows")), 129, 8192);
  shape.batcher.lanes = table.pipeline;
  ModelledCluster cluster(shape);
  const LoadResult r =
      run_burst(cluster, static_cast<int>(number("streams")),
                static_cast<int32_t>(number("prompt")), static_cast<int32_t>(number("answer")), 1);
  fmt::print("{{{}}}\n", json(r));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "routing")
    routing();
  else if (what == "gpu")
    gpu();
  else if (what == "cpu")
    return cpu(argc - 2, argv + 2);
  else {
    fmt::print(stderr, "usage: scaling routing | gpu | cpu KEY=VALUE...\n");
    return 2;
  }
  return 0;
}
