// troupe bench MODEL: how fast a backend steps on this machine, without server, batcher or cluster.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <memory>
#include <sstream>

#include <unistd.h>

#include "actors/machine.h"
#include "app/bench_report.h"
#include "app/bench_steps.h"
#include "app/commands.h"
#include "app/read_bandwidth.h"
#include "app/suggest.h"
#include "config/limits.h"
#include "model/backends.h"
#include "model/files/model_files.h"
#include "model/oracle/oracle_partition.h"

namespace troupe {

namespace {

using Clock = std::chrono::steady_clock;
constexpr uint64_t kPromptSeed = 4;

struct BenchFlags {
  std::string model, backend = "auto", isa, kv_type = "f16";
  int32_t threads = 0, rounds = 5, prefill_tokens = 512, prompt_tokens = 128, generate = 128,
          chunk = 0, oracle_step_ms = 0;
  std::vector<int32_t> batches{1, 16};
  bool json = false, no_bandwidth = false, first_token = false;
};

struct BenchModel {
  std::string name, backend;
  ModelSpec spec;
  std::shared_ptr<const WeightSource> weights;  ///< dropped once they are loaded
  LoadPlan plan;
  int64_t weight_bytes = 0;
  Capabilities capabilities;
  std::unique_ptr<Partition> partition;
};

/// Of the weights that a decoded token reads, as they stand in the file.
int64_t bytes_per_token(const WeightSource& weights, const ModelSpec& spec) {
  int64_t sum = 0;
  const auto add = [&](TensorKind kind, int32_t layer) {
    if (const auto info = weights.info({kind, layer}))
      sum += info->rows * row_bytes(traits_of(info->dtype), info->cols);
  };
  using enum TensorKind;
  add(spec.tied_embeddings ? token_embedding : output, -1);
  for (int32_t layer = 0; layer < spec.n_layers; ++layer)
    for (TensorKind kind : {q, k, v, o, gate, up, down}) add(kind, layer);
  return sum;
}

/// Seconds since the process was started, in steps of a clock tick (10 ms).
double process_age() {
  std::ifstream in("/proc/self/stat");
  std::ostringstream all;
  all << in.rdbuf();
  const std::string text = all.str();
  std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 1)));
  std::string skipped;
  // Field 22 is the start in ticks since boot; the first field after the name is number 3.
  for (int field = 3; field < 22; ++field) fields >> skipped;
  double ticks = 0;
  fields >> ticks;
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9 -
         ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

LoadOrder order_for(const BenchFlags& f, const std::string& name) {
  LoadOrder order;
  order.model = name;
  order.source = f.model;
  order.backend = f.backend;
  order.threads = f.threads;
  order.isa = f.isa;
  order.kv_type = f.kv_type == "int8" ? KvType::int8 : KvType::f16;
  const int32_t batch = *std::ranges::max_element(f.batches);
  order.max_slots = batch;
  order.kv_blocks = 1 + std::max(BenchSteps::blocks_for(1, f.prefill_tokens),
                                 BenchSteps::blocks_for(batch, f.prompt_tokens + f.generate));
  return order;
}

Result<BenchModel> load(const BenchFlags& f) {
  BenchModel m;
  m.backend = resolve_backend(f.backend);
  if (m.backend == "oracle") {
    m.name = "oracle";
    m.spec = oracle_spec();
    m.weights = std::make_shared<OracleWeights>();
  } else {
    auto opened = open_model(f.model);
    if (!opened) return std::unexpected(opened.error());
    m.name = opened->name;
    m.spec = opened->bundle.spec;
    m.weights = std::move(opened->weights);
  }
  const LoadOrder order = order_for(f, m.name);
  const MemoryNeeds needs =
      needs_of(order, m.spec, m.backend, weight_bytes(*m.weights, m.spec.n_layers),
               whole_model(m.spec).ranks.front());
  auto plan = plan_load(order, m.spec, m.backend, needs, needs, machine_facts());
  if (!plan) return std::unexpected(plan.error());
  m.plan = *plan;
  const int32_t longest = std::max(f.prefill_tokens, f.prompt_tokens + f.generate);
  if (longest > m.plan.budget.context)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} positions are asked for and {} has a context of {}; ask for fewer "
                            "--prefill-tokens, --prompt-tokens or --generate",
                            longest, m.name, m.plan.budget.context));
  if (f.chunk > m.plan.budget.max_rows)
    return fail(ErrorCode::invalid_argument,
                fmt::format("a step takes at most {} rows; give a --chunk of at most that",
                            m.plan.budget.max_rows));
  if (f.chunk > 0) m.plan.prefill_chunk = f.chunk;
  BackendOptions options;
  options.oracle_step = std::chrono::milliseconds(f.oracle_step_ms);
  auto made = make_partition(m.backend, options);
  if (!made) return std::unexpected(made.error());
  m.partition = std::move(*made);
  auto capabilities = m.partition->load(*m.weights, m.spec, whole_model(m.spec), 0, m.plan.budget);
  if (!capabilities) return std::unexpected(capabilities.error());
  m.capabilities = std::move(*capabilities);
  m.weight_bytes = bytes_per_token(*m.weights, m.spec);
  m.weights.reset();
  return m;
}

/// Each round times everything once, so that a busy moment hits all figures alike. The prefill for
/// the first token was the warm-up.
Result<void> run_rounds(const BenchFlags& f, BenchSteps& steps, BenchReport& report) {
  report.prefill.push_back({1, f.prefill_tokens, {}});
  for (int32_t batch : f.batches) report.decode.push_back({batch, f.generate, {}});
  for (int32_t round = 0; round < f.rounds; ++round) {
    const auto prefilled = steps.prefill(f.prefill_tokens);
    if (!prefilled) return std::unexpected(prefilled.error());
    report.prefill[0].per_second.push_back(f.prefill_tokens / to_seconds(*prefilled));
    for (BenchRates& rates : report.decode) {
      const auto took = steps.decode(rates.batch, f.prompt_tokens, f.generate);
      if (!took) return std::unexpected(took.error());
      rates.per_second.push_back(rates.batch * f.generate / to_seconds(*took));
    }
  }
  return {};
}

Result<int> bench(const BenchFlags& f) {
  if (f.model.empty() && f.backend != "oracle")
    return fail(ErrorCode::invalid_argument,
                "a model is needed: a GGUF file or a model directory, as troupe bench model.gguf");
  const auto start = Clock::now();
  auto model = load(f);
  if (!model) return std::unexpected(model.error());
  BenchReport report;
  report.load_s = std::chrono::duration<double>(Clock::now() - start).count();
  report.model = model->name;
  report.backend = model->backend;
  report.describe = model->capabilities.describe;
  report.threads = model->plan.budget.threads;
  report.chunk = model->plan.prefill_chunk;
  report.prompt_tokens = f.prompt_tokens;
  report.weight_bytes = model->weight_bytes;
  BenchSteps steps(*model->partition, model->spec.vocab, report.chunk, kPromptSeed);
  if (auto first = steps.prefill(f.prompt_tokens); !first) return std::unexpected(first.error());
  report.start_to_token_s = process_age();
  if (!f.first_token) {
    if (auto ran = run_rounds(f, steps, report); !ran) return std::unexpected(ran.error());
    if (!f.no_bandwidth && report.weight_bytes > 0) {
      auto bandwidth = read_bandwidth(report.weight_bytes, report.threads, std::max(5, f.rounds));
      if (!bandwidth) return std::unexpected(bandwidth.error());
      report.read_bytes_per_s = *bandwidth;
    }
  }
  std::fputs((f.json ? bench_json(report) : bench_text(report)).c_str(), stdout);
  return 0;
}

}  // namespace

void add_bench(CLI::App& app, Command& chosen) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App* c = app.add_subcommand("bench", "Measure how fast a model runs on this machine");
  c->add_option("model", flags->model, "GGUF file or Hugging Face model directory");
  c->add_option("--backend", flags->backend, "auto, native, torch or oracle (no model; for tests)")
      ->capture_default_str()
      ->check(one_of({"auto", "native", "torch", "oracle"}));
  c->add_option("--threads", flags->threads, "Threads (default: cores)")
      ->check(CLI::Range(1, 1024));
  c->add_option("--isa", flags->isa,
                "Force a lower one than this CPU's best: scalar, avx2, avx512, amx")
      ->check(one_of({"scalar", "avx2", "avx512", "amx"}));
  c->add_option("--kv-dtype", flags->kv_type, "f16 or int8 keys and values")
      ->capture_default_str()
      ->check(one_of({"f16", "int8"}));
  c->add_option("--rounds", flags->rounds, "Times each figure is measured; the median is printed")
      ->capture_default_str()
      ->check(CLI::Range(1, kBenchRoundsMax));
  c->add_option("--prefill-tokens", flags->prefill_tokens, "Length of the prompt of the prefill")
      ->capture_default_str()
      ->check(CLI::Range(1, kBenchTokensMax));
  c->add_option("--prompt-tokens", flags->prompt_tokens, "Length of the prompts before decoding")
      ->capture_default_str()
      ->check(CLI::Range(1, kBenchTokensMax));
  c->add_option("--generate", flags->generate, "Tokens each sequence generates")
      ->capture_default_str()
      ->check(CLI::Range(1, kBenchTokensMax));
  c->add_option("--batch", flags->batches, "Sequences that decode together, as 1,16")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(1, kBenchBatchMax));
  c->add_option("--chunk", flags->chunk, "Rows of a prefill step (default: as serve)")
      ->check(CLI::Range(1, kRowsPerStepMax));
  c->add_option("--oracle-step-ms", flags->oracle_step_ms, "Oracle backend: how long a step takes")
      ->check(CLI::Range(0, 10'000));
  c->add_flag("--no-bandwidth", flags->no_bandwidth, "Leave out the read bandwidth of the memory");
  c->add_flag("--first-token", flags->first_token,
              "Only load, take one token of a prompt and end: for timing the start");
  c->add_flag("--json", flags->json, "Print the figures of all rounds as JSON");
  c->footer(
      "Examples:\n  troupe bench model.gguf\n  troupe bench model.gguf --threads 1 --batch 1,4,16 "
      "--json\n"
      "Prompts are random tokens and decoding is greedy. Run it while nothing else does.");
  c->callback([flags, &chosen] { chosen = [flags] { return bench(*flags); }; });
}

}  // namespace troupe
