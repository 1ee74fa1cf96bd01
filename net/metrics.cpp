#include "net/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <map>

namespace troupe {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildHistogram;
using prometheus::Histogram;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<prometheus::ClientMetric::Label>;

const Histogram::BucketBoundaries kFirstTokenBuckets = {.001, .005, .01, .02, .04, .06, .08, .1,
                                                        .25,  .5,   .75, 1,   2.5, 5,   7.5, 10,
                                                        20,   40,   80,  160, 640, 2560};
const Histogram::BucketBoundaries kPerTokenBuckets = {.001, .0025, .005, .01, .025, .05, .075, .1,
                                                      .15,  .2,    .3,   .4,  .5,   .75, 1,    2.5,
                                                      5,    7.5,   10,   20,  40,   80};
const Histogram::BucketBoundaries kRequestBuckets = {.005, .01, .025, .05, .1,  .3,  .5,  .8,
                                                     1,    1.5, 2,    2.5, 5,   10,  15,  20,
                                                     30,   40,  50,   60,  120, 240, 480, 960};

MetricFamily family(std::string name, std::string help, MetricType type) {
  MetricFamily made;
  made.name = std::move(name);
  made.help = std::move(help);
  made.type = type;
  return made;
}

void add(MetricFamily& to, Labels labels, double value) {
  prometheus::ClientMetric metric;
  metric.label = std::move(labels);
  if (to.type == MetricType::Counter)
    metric.counter.value = value;
  else
    metric.gauge.value = value;
  to.metric.push_back(std::move(metric));
}

void append_router(std::vector<MetricFamily>& out, const RouterStats& stats) {
  auto one = [&](std::string name, std::string help, MetricType type, double value) {
    out.push_back(family(std::move(name), std::move(help), type));
    add(out.back(), {}, value);
  };
  auto number = [](uint64_t value) { return static_cast<double>(value); };
  one("troupe_requests_queued", "Sequences of this router that wait for a group.",
      MetricType::Gauge, stats.queued);
  one("troupe_requests_running", "Sequences of this router that a group works on.",
      MetricType::Gauge, stats.running);
  one("troupe_request_retries_total", "Placements of a sequence again after a failure.",
      MetricType::Counter, number(stats.retries));
  one("troupe_continued_tokens_total", "Tokens carried over to another group by a retry.",
      MetricType::Counter, number(stats.continued_tokens));
  one("troupe_stale_messages_dropped_total", "Messages of former attempts or generations.",
      MetricType::Counter, number(stats.stale_dropped));
  one("troupe_journal_timeouts_total", "Times the journal peer was silent for too long.",
      MetricType::Counter, number(stats.journal_timeouts));
  one("troupe_response_cache_misses_total", "Cacheable requests that were computed.",
      MetricType::Counter, number(stats.cache_misses));
  one("troupe_response_cache_coalesced_total",
      "Requests attached to an identical one that was running.", MetricType::Counter,
      number(stats.coalesced));
  out.push_back(family("troupe_response_cache_hits_total",
                       "Requests answered from the response cache.", MetricType::Counter));
  add(out.back(), {{"tier", "memory"}}, number(stats.cache_hits_memory));
  add(out.back(), {{"tier", "redis"}}, number(stats.cache_hits_redis));
  add(out.back(), {{"tier", "disk"}}, number(stats.cache_hits_disk));
}

void append_redis(std::vector<MetricFamily>& out, const RedisStats& stats) {
  static constexpr std::pair<const char*, uint64_t RedisStats::*> kOutcomes[] = {
      {"hit", &RedisStats::hits},
      {"miss", &RedisStats::misses},
      {"stored", &RedisStats::stored},
      {"not_connected", &RedisStats::not_connected},
      {"timed_out", &RedisStats::timed_out},
      {"resting", &RedisStats::resting},
      {"wrong_type", &RedisStats::wrong_type},
      {"truncated", &RedisStats::truncated},
      {"foreign", &RedisStats::foreign},
      {"unreadable", &RedisStats::unreadable},
      {"too_big", &RedisStats::too_big},
      {"overloaded", &RedisStats::overloaded},
      {"refused", &RedisStats::refused}};
  out.push_back(family("troupe_redis_operations_total",
                       "Lookups and stores of the response cache in Redis, by what came of them: "
                       "all but hit, miss and stored are failures that count as a miss.",
                       MetricType::Counter));
  for (const auto& [outcome, count] : kOutcomes)
    add(out.back(), {{"outcome", outcome}}, static_cast<double>(stats.*count));
  out.push_back(family("troupe_redis_connected", "1 while Redis can be asked.", MetricType::Gauge));
  add(out.back(), {}, stats.connected ? 1 : 0);
}

void append_server(std::vector<MetricFamily>& out, const HttpServerStats& stats) {
  out.push_back(family("troupe_http_connections", "Open client connections.", MetricType::Gauge));
  add(out.back(), {}, static_cast<double>(stats.connections));
  out.push_back(family("troupe_http_connections_accepted_total", "Client connections accepted.",
                       MetricType::Counter));
  add(out.back(), {}, static_cast<double>(stats.accepted));
  out.push_back(family("troupe_http_connections_refused_total", "Client connections over a limit.",
                       MetricType::Counter));
  add(out.back(), {}, static_cast<double>(stats.refused));
  out.push_back(family("troupe_http_bad_requests_total",
                       "Requests that were not HTTP, too large or too slow.", MetricType::Counter));
  add(out.back(), {}, static_cast<double>(stats.bad_requests));
}

void append_models(std::vector<MetricFamily>& out, const BridgeState& state) {
  auto ready =
      family("troupe_groups_ready", "Groups of a model that can take requests.", MetricType::Gauge);
  auto wanted =
      family("troupe_groups", "Groups of a model the configuration asks for.", MetricType::Gauge);
  for (const ModelReadiness& model : state.readiness.models) {
    add(ready, {{"model_name", model.name}}, model.groups_ready);
    add(wanted, {{"model_name", model.name}}, model.groups);
  }
  out.push_back(std::move(ready));
  out.push_back(std::move(wanted));
  out.push_back(family("troupe_ready", "1 when /readyz answers 200.", MetricType::Gauge));
  add(out.back(), {}, state.readiness.ready && !state.draining ? 1 : 0);
}

void append_dropped(std::vector<MetricFamily>& out, const BridgeState& state) {
  out.push_back(family("troupe_messages_dropped_total",
                       "Messages the router did not act on, by why.", MetricType::Counter));
  for (const auto& [why, count] : state.dropped)
    add(out.back(), {{"actor", "router"}, {"why", why}}, static_cast<double>(count));
}

void append_groups(std::vector<MetricFamily>& out, const BridgeState& state) {
  struct Column {
    const char *name, *help;
    MetricType type;
    double (*value)(const GroupStatus&);
  };
  static constexpr Column kColumns[] = {
      {"troupe_group_requests_queued", "Sequences waiting in a group.", MetricType::Gauge,
       [](const GroupStatus& g) -> double { return g.queued; }},
      {"troupe_group_requests_running", "Sequences running in a group.", MetricType::Gauge,
       [](const GroupStatus& g) -> double { return g.running; }},
      {"troupe_group_kv_cache_usage_ratio", "Share of a group's KV blocks in use, 0 to 1.",
       MetricType::Gauge,
       [](const GroupStatus& g) {
         return g.blocks_total > 0 ? 1.0 * g.blocks_used / g.blocks_total : 0.0;
       }},
      {"troupe_group_kv_blocks", "KV blocks of a group.", MetricType::Gauge,
       [](const GroupStatus& g) -> double { return g.blocks_total; }},
      {"troupe_group_last_step_age_seconds", "Time since a group finished a step.",
       MetricType::Gauge, [](const GroupStatus& g) { return to_seconds(g.last_step_age); }},
      {"troupe_group_steps_total", "Steps a group has finished in its generation.",
       MetricType::Counter, [](const GroupStatus& g) { return static_cast<double>(g.steps_done); }},
      {"troupe_group_preemptions_total", "Sequences put back for want of KV blocks.",
       MetricType::Counter,
       [](const GroupStatus& g) { return static_cast<double>(g.preemptions); }},
      {"troupe_group_prefix_cache_queries_tokens_total",
       "Prompt tokens looked up in the prefix cache.", MetricType::Counter,
       [](const GroupStatus& g) { return static_cast<double>(g.prefix_queries); }},
      {"troupe_group_prefix_cache_hits_tokens_total", "Prompt tokens found in the prefix cache.",
       MetricType::Counter,
       [](const GroupStatus& g) { return static_cast<double>(g.prefix_hits); }},
      {"troupe_group_speculation_drafted_tokens_total",
       "Guessed tokens that a group put to the test.", MetricType::Counter,
       [](const GroupStatus& g) { return static_cast<double>(g.drafted); }},
      {"troupe_group_speculation_accepted_tokens_total", "Guessed tokens that were right.",
       MetricType::Counter,
       [](const GroupStatus& g) { return static_cast<double>(g.drafts_right); }},
      {"troupe_group_step_prompt_rows",
       "Prompt tokens a step may compute now beside the running answers.", MetricType::Gauge,
       [](const GroupStatus& g) -> double { return g.prompt_rows; }},
  };
  for (const Column& column : kColumns) {
    out.push_back(family(column.name, column.help, column.type));
    for (const auto& [model, status] : state.groups)
      add(out.back(), {{"model_name", model}, {"group", std::to_string(status.group.value)}},
          column.value(status));
  }
}

/// Figures of a group that come in several kinds.
void append_group_kinds(std::vector<MetricFamily>& out, const BridgeState& state) {
  auto blocks = family("troupe_group_kv_blocks_by_state",
                       "KV blocks of a group: held by sequences, kept for their prefix, or free.",
                       MetricType::Gauge);
  auto phases = family("troupe_group_step_phase_seconds_total", "Time of a group's steps by phase.",
                       MetricType::Counter);
  auto dropped = family("troupe_group_messages_dropped_total",
                        "Messages a group's batcher did not act on, by why: stale, from a process "
                        "not accepted, damaged, or of an unexpected kind.",
                        MetricType::Counter);
  for (const auto& [model, g] : state.groups) {
    const auto labels = [&](const char* kind, const char* value) {
      return Labels{{"model_name", model}, {"group", std::to_string(g.group.value)}, {kind, value}};
    };
    add(blocks, labels("state", "used"), g.blocks_used);
    add(blocks, labels("state", "cached"), g.blocks_cached);
    add(blocks, labels("state", "free"), g.blocks_total - g.blocks_used - g.blocks_cached);
    static constexpr const char* kPhases[] = {"prepare", "layers", "head", "sampling"};
    for (size_t i = 0; i < g.phase_us.size(); ++i)
      add(phases, labels("phase", kPhases[i]), 1e-6 * static_cast<double>(g.phase_us[i]));
    for (size_t i = 0; i < kGroupDrops; ++i)
      add(dropped, labels("why", name_of(static_cast<GroupDrop>(i)).data()),
          static_cast<double>(g.dropped[i]));
  }
  out.push_back(std::move(blocks));
  out.push_back(std::move(phases));
  out.push_back(std::move(dropped));
}

/// What vLLM exports under the same meaning: sums over the groups of a model.
void append_vllm_gauges(std::vector<MetricFamily>& out, const BridgeState& state) {
  struct Sum {
    double queued = 0, running = 0, used = 0, total = 0;
  };
  std::vector<std::pair<std::string, Sum>> models;
  for (const auto& [name, status] : state.groups) {
    if (models.empty() || models.back().first != name) models.emplace_back(name, Sum{});
    Sum& sum = models.back().second;
    sum.queued += status.queued;
    sum.running += status.running;
    sum.used += status.blocks_used;
    sum.total += status.blocks_total;
  }
  auto waiting =
      family("vllm:num_requests_waiting", "Alias: sequences waiting.", MetricType::Gauge);
  auto running =
      family("vllm:num_requests_running", "Alias: sequences running.", MetricType::Gauge);
  auto usage = family("vllm:kv_cache_usage_perc", "Alias: share of KV blocks in use, 0 to 1.",
                      MetricType::Gauge);
  auto config = family("vllm:cache_config_info", "Alias: KV cache layout.", MetricType::Gauge);
  for (const auto& [name, sum] : models) {
    add(waiting, {{"model_name", name}}, sum.queued);
    add(running, {{"model_name", name}}, sum.running);
    add(usage, {{"model_name", name}}, sum.total > 0 ? sum.used / sum.total : 0);
    add(config,
        {{"model_name", name},
         {"block_size", std::to_string(kBlockPositions)},
         {"num_gpu_blocks", std::to_string(static_cast<int64_t>(sum.total))}},
        1);
  }
  for (MetricFamily* made : {&waiting, &running, &usage, &config}) out.push_back(std::move(*made));
}

void append_vllm_aliases(std::vector<MetricFamily>& out, const std::vector<MetricFamily>& ours) {
  static constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
      {"troupe_time_to_first_token_seconds", "vllm:time_to_first_token_seconds"},
      {"troupe_inter_token_latency_seconds", "vllm:inter_token_latency_seconds"},
      {"troupe_e2e_request_latency_seconds", "vllm:e2e_request_latency_seconds"},
      {"troupe_request_queue_time_seconds", "vllm:request_queue_time_seconds"},
      {"troupe_prompt_tokens_total", "vllm:prompt_tokens_total"},
      {"troupe_generation_tokens_total", "vllm:generation_tokens_total"},
      {"troupe_requests_finished_total", "vllm:request_success_total"}};
  for (const MetricFamily& made : ours)
    for (const auto& [name, alias] : kAliases)
      if (made.name == name) {
        out.push_back(made);
        out.back().name = alias;
        out.back().help = "Alias: " + made.help;
      }
}

std::string_view name_of(Finish finish) {
  switch (finish) {
    case Finish::stop:
      return "stop";
    case Finish::length:
      return "length";
    case Finish::cancelled:
      return "abort";
    case Finish::none:
      break;
  }
  return "none";
}

}  // namespace

struct Metrics::Series {
  /// Histograms of one model: looked up once a request, not per token.
  struct Model {
    Histogram &first_token, &inter_token, &request, &queue;
    prometheus::Counter &prompt_tokens, &generation_tokens;
    std::array<prometheus::Counter*, 4> ends{};  ///< by Finish, as they come up
  };

  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& answers =
      BuildCounter()
          .Name("troupe_http_requests_total")
          .Help("HTTP requests answered, by route and status; 499: the client left.")
          .Register(registry);
  prometheus::Family<prometheus::Counter>& ends =
      BuildCounter()
          .Name("troupe_requests_finished_total")
          .Help("Requests answered in full, by why they ended.")
          .Register(registry);
  prometheus::Family<prometheus::Counter>& failures =
      BuildCounter()
          .Name("troupe_requests_failed_total")
          .Help("Accepted requests that ended with an error.")
          .Register(registry);
  prometheus::Family<Histogram>& first_token = BuildHistogram()
                                                   .Name("troupe_time_to_first_token_seconds")
                                                   .Help("From arrival to the first token.")
                                                   .Register(registry);
  prometheus::Family<Histogram>& inter_token = BuildHistogram()
                                                   .Name("troupe_inter_token_latency_seconds")
                                                   .Help("Between tokens of an answer.")
                                                   .Register(registry);
  prometheus::Family<Histogram>& request = BuildHistogram()
                                               .Name("troupe_e2e_request_latency_seconds")
                                               .Help("From arrival to the last token.")
                                               .Register(registry);
  prometheus::Family<Histogram>& queue = BuildHistogram()
                                             .Name("troupe_request_queue_time_seconds")
                                             .Help("Time a request waited for its group.")
                                             .Register(registry);
  prometheus::Family<prometheus::Counter>& prompt_tokens =
      BuildCounter()
          .Name("troupe_prompt_tokens_total")
          .Help("Prompt tokens of finished requests.")
          .Register(registry);
  prometheus::Family<prometheus::Counter>& generation_tokens =
      BuildCounter()
          .Name("troupe_generation_tokens_total")
          .Help("Generated tokens of finished requests.")
          .Register(registry);
  prometheus::Family<prometheus::Gauge>& build =
      prometheus::BuildGauge()
          .Name("troupe_build_info")
          .Help("1, with the build and node of this router as labels.")
          .Register(registry);
  std::map<std::string, Model, std::less<>> models;
  using ByStatus = std::map<int, prometheus::Counter*>;
  std::map<std::string, ByStatus, std::less<>> answered;

  Model& of(std::string_view name) {
    if (const auto found = models.find(name); found != models.end()) return found->second;
    std::string key(name);
    const std::map<std::string, std::string> labels = {{"model_name", key}};
    Model made{first_token.Add(labels, kFirstTokenBuckets),
               inter_token.Add(labels, kPerTokenBuckets),
               request.Add(labels, kRequestBuckets),
               queue.Add(labels, kRequestBuckets),
               prompt_tokens.Add(labels),
               generation_tokens.Add(labels)};
    return models.emplace(std::move(key), made).first->second;
  }
};

Metrics::Metrics(std::string_view build, std::string_view node)
    : series_(std::make_unique<Series>()) {
  series_->build.Add({{"build", std::string(build)}, {"node", std::string(node)}}).Set(1);
}

Metrics::~Metrics() = default;

void Metrics::answered(std::string_view route, int status) {
  // Families look a series up by all its labels; once is enough.
  auto found = series_->answered.find(route);
  if (found == series_->answered.end())
    found = series_->answered.emplace(std::string(route), Series::ByStatus{}).first;
  auto& counter = found->second[status];
  if (!counter)
    counter =
        &series_->answers.Add({{"route", std::string(route)}, {"code", std::to_string(status)}});
  counter->Increment();
}

void Metrics::first_token(std::string_view model, Duration since_arrival) {
  series_->of(model).first_token.Observe(to_seconds(since_arrival));
}

void Metrics::next_tokens(std::string_view model, Duration gap, size_t tokens) {
  Histogram& histogram = series_->of(model).inter_token;
  for (size_t i = 0; i < tokens; ++i)
    histogram.Observe(to_seconds(gap) / static_cast<double>(tokens));
}

void Metrics::finished(std::string_view model, Finish finish, Duration since_arrival,
                       const Timings& timings) {
  Series::Model& series = series_->of(model);
  series.request.Observe(to_seconds(since_arrival));
  series.queue.Observe(to_seconds(timings.queue));
  series.prompt_tokens.Increment(timings.prompt_tokens);
  series.generation_tokens.Increment(timings.generated_tokens);
  auto& end = series.ends.at(static_cast<size_t>(finish));
  if (!end)
    end = &series_->ends.Add(
        {{"model_name", std::string(model)}, {"finished_reason", std::string(name_of(finish))}});
  end->Increment();
}

void Metrics::failed(std::string_view model, ErrorCode code) {
  series_->failures
      .Add({{"model_name", std::string(model)}, {"error", std::string(troupe::name_of(code))}})
      .Increment();
}

std::string Metrics::render(const BridgeState& state, const HttpServerStats& server,
                            MetricsCompat compat) const {
  std::vector<MetricFamily> families = series_->registry.Collect();
  if (compat == MetricsCompat::vllm) {
    const std::vector<MetricFamily> ours = families;
    append_vllm_aliases(families, ours);
    append_vllm_gauges(families, state);
  }
  append_router(families, state.stats);
  if (state.redis) append_redis(families, *state.redis);
  append_server(families, server);
  append_models(families, state);
  append_dropped(families, state);
  append_groups(families, state);
  append_group_kinds(families, state);
  std::erase_if(families, [](const MetricFamily& made) { return made.metric.empty(); });
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace troupe
