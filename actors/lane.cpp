#include "actors/lane.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <thread>

#include "actors/state_dir.h"
#include "config/check.h"
#include "config/limits.h"
#include "model/backends.h"
#include "model/files/model_files.h"
#include "model/oracle/oracle_partition.h"
#include "model/oracle/oracle_reference.h"
#include "model/tokenizer.h"

namespace troupe {

namespace {
/// Enough of a template for chats with the oracle to be possible and foreseeable.
constexpr char kOracleTemplate[] =
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}";
}  // namespace

MachineFacts machine_facts() {
  MachineFacts facts;
  facts.cores = static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()));
  if (std::FILE* file = std::fopen("/proc/meminfo", "re")) {
    char line[256];
    long long kib = 0;
    while (std::fgets(line, sizeof line, file))
      if (std::sscanf(line, "MemAvailable: %lld kB", &kib) == 1)
        facts.memory_available = kib * kKiB;
    std::fclose(file);
  }
  return facts;
}

DeviceLane::DeviceLane() : thread_([this] { loop(); }) {}

DeviceLane::~DeviceLane() {
  abort();
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  ready_.notify_one();
  thread_.join();
}

void DeviceLane::load(LoadOrder order, std::function<void(Result<LoadedModel>)> done) {
  post(LoadJob{std::move(order), std::move(done)});
}

void DeviceLane::run(std::shared_ptr<const StepPlan> plan, Duration timeout,
                     std::function<void(BatcherInput)> done) {
  post(RunJob{std::move(plan), timeout, std::move(done)});
}

void DeviceLane::post(Job job) {
  {
    std::lock_guard lock(mutex_);
    TROUPE_CHECK(waiting_count_ < waiting_.size(), waiting_count_);
    waiting_[waiting_count_++] = std::move(job);
  }
  ready_.notify_one();
}

void DeviceLane::abort() noexcept {
  std::lock_guard lock(mutex_);
  aborted_ = true;
  if (partition_) partition_->abort();
}

void DeviceLane::loop() {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      ready_.wait(lock, [&] { return stopping_ || waiting_count_ > 0; });
      if (stopping_) return;
      job = std::move(waiting_.front());
      std::move(waiting_.begin() + 1, waiting_.end(), waiting_.begin());
      waiting_[--waiting_count_] = Job{};
    }
    if (auto* load = std::get_if<LoadJob>(&job))
      load->done(load_now(load->order));
    else if (auto* run = std::get_if<RunJob>(&job))
      run->done(run_now(*run));
  }
}

Result<LoadedModel> DeviceLane::load_now(const LoadOrder& order) {
  const std::string backend = resolve_backend(order.backend);
  LoadedModel loaded;
  std::shared_ptr<const WeightSource> weights;
  if (backend == "oracle") {
    loaded.bundle.spec = oracle_spec();
    loaded.bundle.tokenizer = oracle_tokenizer_spec();
    loaded.bundle.chat_template = kOracleTemplate;
    identify(loaded.bundle);
    weights = std::make_shared<OracleWeights>();
  } else {
    auto opened = open_model(order.source, WeightsIdMemory(weights_id_memory_path()));
    if (!opened) return std::unexpected(opened.error());
    loaded.bundle = std::move(opened->bundle);
    weights = std::move(opened->weights);
  }
  auto plan = plan_load(order, loaded.bundle.spec, backend, machine_facts());
  if (!plan) return std::unexpected(plan.error());
  loaded.plan = *plan;
  auto partitions =
      plan_partitions(loaded.bundle.spec, order.tensor_parallel, order.pipeline_parallel);
  if (!partitions) return std::unexpected(partitions.error());
  BackendOptions options;
  options.oracle_step = order.oracle_step;
  auto made = make_partition(backend, options);
  if (!made) return std::unexpected(made.error());
  {
    std::lock_guard lock(mutex_);
    partition_ = std::move(*made);
    if (aborted_) partition_->abort();
  }
  loaded.bundle.manifest.weights_id = weights->weights_id();
  auto capabilities =
      partition_->load(*weights, loaded.bundle.spec, *partitions, order.rank, loaded.plan.budget);
  if (!capabilities) return std::unexpected(capabilities.error());
  loaded.capabilities = std::move(*capabilities);
  return loaded;
}

BatcherInput DeviceLane::run_now(const RunJob& job) {
  const Ticket ticket = partition_->submit(*job.plan);
  auto output = partition_->wait(ticket, job.timeout);
  if (!output) return batcher_in::StepFailed{job.plan->key, output.error()};
  // The partition reuses its output at the next wait; the batcher may look at it later than that.
  return batcher_in::StepDone{std::make_shared<const StepOutput>(**output)};
}

}  // namespace troupe
