#include "actors/lane.h"

#include <fmt/format.h>

#include <algorithm>

#include "actors/machine.h"
#include "actors/served_model.h"
#include "actors/state_dir.h"
#include "config/check.h"
#include "config/limits.h"
#include "model/backends.h"
#include "model/files/model_files.h"
#include "model/follower.h"
#include "model/oracle/oracle_partition.h"
#include "model/oracle/oracle_reference.h"
#include "model/rank_weights.h"
#include "model/tokenizer.h"

namespace troupe {

namespace {
/// Enough of a template for chats with the oracle to be possible and foreseeable.
constexpr char kOracleTemplate[] =
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}";

/// Whether `rank` lives where the ordered one does.
bool share_a_host(const LoadOrder& order, size_t rank) {
  return order.hosts.empty() || order.hosts[rank] == order.hosts[static_cast<size_t>(order.rank)];
}
}  // namespace

DeviceLane::DeviceLane(std::shared_ptr<RankMemory> memory, RankListen own)
    : meeting_(std::move(memory), std::move(own)), thread_([this] { loop(); }) {}

DeviceLane::~DeviceLane() {
  abort();
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  ready_.notify_one();
  thread_.join();
}

void DeviceLane::load(LoadOrder order, std::function<void(HostPort)> listening,
                      std::function<void(Result<LoadedModel>)> done) {
  post(LoadJob{std::move(order), std::move(listening), std::move(done)});
}

void DeviceLane::run(std::shared_ptr<const StepPlan> plan, Duration timeout,
                     std::function<void(BatcherInput)> done) {
  post(RunJob{std::move(plan), timeout, std::move(done)});
}

void DeviceLane::follow(Duration idle, std::function<void()> stepped,
                        std::function<void(Error)> ended) {
  post(FollowJob{idle, std::move(stepped), std::move(ended)});
}

void DeviceLane::post(Job job) {
  {
    std::lock_guard lock(mutex_);
    TROUPE_CHECK(waiting_.size() < kWaitingMax, waiting_.size());
    waiting_.push_back(std::move(job));
  }
  ready_.notify_one();
}

void DeviceLane::abort() noexcept {
  std::lock_guard lock(mutex_);
  aborted_ = true;
  meeting_.end();
  if (collective_) collective_->abort(generation_);
  if (partition_) partition_->abort();
}

void DeviceLane::loop() {
  for (;;) {
    std::optional<Job> job = next_job();
    if (!job) {
      if (submitted_.empty()) return;
      finish_oldest();
    } else if (auto* load = std::get_if<LoadJob>(&*job)) {
      load->done(load_now(*load));
    } else if (auto* run = std::get_if<RunJob>(&*job)) {
      const Ticket ticket = partition_->submit(*run->plan);
      submitted_.push_back({std::move(*run), ticket});
    } else if (auto* follow = std::get_if<FollowJob>(&*job)) {
      follow->ended(follow_steps(*partition_, follow->idle, follow->stepped));
    }
  }
}

std::optional<DeviceLane::Job> DeviceLane::next_job() {
  std::unique_lock lock(mutex_);
  const auto wakes = [&] { return stopping_ || !waiting_.empty(); };
  if (submitted_.empty())
    ready_.wait(lock, wakes);
  else if (misses_a_plan())
    ready_.wait_for(lock, kLanePlanWait, wakes);
  if (stopping_ || waiting_.empty()) return std::nullopt;
  Job job = std::move(waiting_.front());
  waiting_.pop_front();
  return job;
}

/// The batcher was just told of an answer and nothing of that lane is here, while plans of other
/// lanes run: once the partition waits for one of those it starts nothing that comes later.
bool DeviceLane::misses_a_plan() const {
  return std::ranges::none_of(
      submitted_, [&](const Submitted& s) { return s.job.plan->key.lane == finished_lane_; });
}

void DeviceLane::finish_oldest() {
  const Submitted oldest = std::move(submitted_.front());
  submitted_.pop_front();
  const auto output = partition_->wait(oldest.ticket, oldest.job.timeout);
  finished_lane_ = oldest.job.plan->key.lane;
  if (!output) return oldest.job.done(batcher_in::StepFailed{oldest.job.plan->key, output.error()});
  // The partition reuses its output at the next wait; the batcher may look at it later than that.
  oldest.job.done(batcher_in::StepDone{std::make_shared<const StepOutput>(**output)});
}

Result<void> DeviceLane::meet(const LoadJob& job) {
  auto made = meeting_.meet(job.order, job.listening);
  if (!made) return std::unexpected(made.error());
  std::lock_guard lock(mutex_);
  collective_ = std::move(*made);
  generation_ = job.order.generation.value;
  if (aborted_ && collective_) collective_->abort(generation_);
  return {};
}

Result<LoadPlan> DeviceLane::plan_together(const LoadOrder& order, const ModelSpec& spec,
                                           const std::string& backend, const WeightSource& weights,
                                           const PartitionPlan& partitions) {
  MemoryNeeds own, host;
  for (size_t rank = 0; rank < partitions.ranks.size(); ++rank) {
    const RankPlan& share = partitions.ranks[rank];
    const MemoryNeeds needs =
        needs_of(order, spec, backend, weight_bytes(weights, spec, share), share);
    if (share_a_host(order, rank)) host += needs;
    if (static_cast<int32_t>(rank) == order.rank) own = needs;
  }
  auto plan = plan_load(order, spec, backend, own, host, machine_facts());
  if (!plan || !collective_) return plan;
  // The first call of all: ranks wait here for the one that opens its file last.
  const LoadOffer offer = offer_of(*plan);
  std::vector<LoadOffer> offers(partitions.ranks.size());
  const std::vector<size_t> counts(offers.size(), sizeof offer);
  const CallTag tag{
      .generation = generation_,
      .deadline = std::min(scaled(kLoadTimeout, order.timing_scale), kCollectiveDeadlineMax)};
  if (auto all = collective_->all_gather_v(std::as_bytes(std::span(&offer, 1)),
                                           std::as_writable_bytes(std::span(offers)), counts, tag);
      !all)
    return std::unexpected(all.error());
  return agree(order, spec, std::move(*plan), offers);
}

Result<LoadedModel> DeviceLane::load_now(const LoadJob& job) {
  const LoadOrder& order = job.order;
  if (auto met = meet(job); !met) return std::unexpected(met.error());
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
    if (order.rank == 0)  // the one whose bundle routers are sent
      if (auto ok = check_servable(opened->bundle, order.source); !ok)
        return std::unexpected(ok.error());
    loaded.bundle = std::move(opened->bundle);
    weights = std::move(opened->weights);
  }
  auto partitions =
      backend == "oracle"
          ? oracle_plan(order.tensor_parallel, order.pipeline_parallel)
          : plan_partitions(loaded.bundle.spec, order.tensor_parallel, order.pipeline_parallel,
                            decode_costs(*weights, loaded.bundle.spec));
  if (!partitions) return std::unexpected(partitions.error());
  auto plan = plan_together(order, loaded.bundle.spec, backend, *weights, *partitions);
  if (!plan) return std::unexpected(plan.error());
  loaded.plan = *plan;
  loaded.plan.budget.host = collective_.get();
  loaded.plan.budget.generation = order.generation.value;
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
  loaded.capabilities.describe += "; " + loaded.plan.why;
  return loaded;
}

}  // namespace troupe
