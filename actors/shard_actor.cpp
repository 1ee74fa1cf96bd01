#include "actors/shard_actor.h"

#include <fmt/format.h>

#include "actors/log.h"
#include "actors/node_link.h"
#include "net/clock.h"

namespace troupe {

namespace {
/// Time for a last message to leave before the process ends.
constexpr auto kLastWords = std::chrono::milliseconds(100);
using leave_atom = caf::atom_constant<caf::atom("leave")>;
using drained_atom = caf::atom_constant<caf::atom("drained")>;
}  // namespace

ShardActor::ShardActor(caf::actor_config& config, ShardActorConfig setup)
    : caf::event_based_actor(config), setup_(std::move(setup)), second_(this) {
  die_on_exception(this, "shard");
}

caf::behavior ShardActor::make_behavior() {
  set_down_handler([this](caf::down_msg&) {
    setup_.exit(70);
  });  // the node's link: nothing can be obeyed any more
  monitor(setup_.node);
  to_node(hello_of(setup_.start));
  second_.arm();
  return {
      [this](const WireBytes& bytes) { on_bytes(bytes); },
      [this](Local<HostPort>& at) {
        to_node(RankListening{order_->group, order_->generation, order_->rank, *at.value});
      },
      [this](Local<Result<LoadedModel>>& loaded) { on_loaded(std::move(*loaded.value)); },
      [this](Local<StepFault>& fault) {
        to_node(std::move(*fault.value));
        // The batcher of rank 0 has still to tell its routers; the node ends that process.
        if (order_->rank > 0) delayed_send(this, kLastWords, leave_atom::value, 70);
      },
      [this](Local<BatcherReport>& batcher) {
        report_.actors = {batcher.value->actor};
        report_.groups = {batcher.value->status};
      },
      [this](second_atom) {
        send_report();
        second_.arm();
      },
      // The node ends this process then: the last tokens leave before.
      [this](Local<batcher_out::Drained>&) { delayed_send(this, kLastWords, drained_atom::value); },
      [this](drained_atom) { to_node(Drained{setup_.start.process}); },
      [this](leave_atom, int code) { setup_.exit(code); },
  };
}

void ShardActor::on_bytes(const WireBytes& bytes) {
  auto envelope = decode(bytes);
  if (!envelope) {
    log_event(LogLevel::warning, "message dropped", {{"why", envelope.error().message}});
    return;
  }
  if (auto* reply = std::get_if<HelloReply>(&envelope->message)) {
    if (!reply->accepted) {
      log_event(LogLevel::error, "the node refused this process", {{"why", reply->reason}});
      setup_.exit(70);
    }
  } else if (auto* order = std::get_if<LoadOrder>(&envelope->message)) {
    if (order_) {  // a second model in one process: something is badly confused
      setup_.exit(70);
      return;
    }
    if (!setup_.start.model_file.empty()) order->source = setup_.start.model_file;
    order_ = *order;
    const auto self = caf::actor_cast<caf::actor>(this);
    setup_.lane->load(
        *order, [self](HostPort at) { caf::anon_send(self, local(std::move(at))); },
        [self](Result<LoadedModel> loaded) { caf::anon_send(self, local(std::move(loaded))); });
  } else if (auto* join = std::get_if<RankJoin>(&envelope->message)) {
    setup_.lane->join(std::move(*join));
  } else if (auto* abort = std::get_if<AbortOrder>(&envelope->message)) {
    if (order_ && abort->generation == order_->generation) {
      log_event(LogLevel::warning, "told to end the generation");
      setup_.exit(70);
    }
  } else if (std::holds_alternative<DrainOrder>(envelope->message)) {
    if (batcher_) send(batcher_, local(BatcherInput(batcher_in::Drain{})));
  }
}

void ShardActor::on_loaded(Result<LoadedModel> loaded) {
  LoadReport report;
  report.group = order_->group;
  report.generation = order_->generation;
  report.rank = order_->rank;
  auto refuse = [&](Error error) {
    log_event(LogLevel::error, "loading failed",
              {{"model", order_->model}, {"why", error.message}});
    report.error = std::move(error);
    to_node(report);
    delayed_send(this, kLastWords, leave_atom::value, 70);
  };
  if (!loaded) {
    refuse(loaded.error());
    return;
  }
  describe_ = loaded->capabilities.describe;
  if (order_->rank == 0)
    if (auto started = start_batcher(*loaded); !started) {
      refuse(started.error());
      return;
    }
  report.ok = true;
  report.weights_id = loaded->bundle.manifest.weights_id;
  report.numerics_id = loaded->capabilities.numerics_id;
  report.context = loaded->plan.budget.context;
  report.kv_blocks = loaded->plan.budget.kv_blocks;
  report.describe = describe_;
  log_event(LogLevel::info, "model loaded", {{"model", order_->model}, {"how", describe_}});
  to_node(std::move(report));
  if (order_->rank > 0) follow();
}

Result<void> ShardActor::start_batcher(const LoadedModel& loaded) {
  const LoadPlan& plan = loaded.plan;
  BatcherActorConfig config;
  config.cluster = setup_.start.cluster;
  config.build = setup_.start.build;
  config.incarnation = setup_.start.incarnation;
  config.id =
      fmt::format("{}/batcher/{}.{}", setup_.start.node, order_->model, order_->group.value);
  config.lane = setup_.lane;
  config.shard = caf::actor_cast<caf::actor>(this);
  BatcherConfig& m = config.machine;
  m.group = order_->group;
  m.generation = order_->generation;
  m.epoch = setup_.start.incarnation.value;
  m.weights_id = loaded.bundle.manifest.weights_id;
  m.numerics_id = loaded.capabilities.numerics_id;
  m.kv_blocks = plan.budget.kv_blocks;
  m.max_rows = plan.budget.max_rows;
  m.max_slots = plan.budget.max_slots;
  m.prefill_chunk = plan.prefill_chunk;
  m.context = plan.budget.context;
  m.vocab = loaded.bundle.spec.vocab;
  m.queue_max = static_cast<int32_t>(order_->queue_max);
  m.canary_interval = plan.canary;
  m.timing_scale = order_->timing_scale;
  m.lanes = order_->pipeline_parallel;
  m.multi_rank = order_->tensor_parallel * order_->pipeline_parallel > 1;
  m.bundle = encode_bundle(loaded.bundle);
  batcher_ = home_system().spawn<BatcherActor>(std::move(config));
  return setup_.publish(batcher_);
}

void ShardActor::follow() {
  setup_.lane->follow(
      scaled(kFollowIdleMax, order_->timing_scale),
      [at = stepped_at_] { at->store(steady_now().time_since_epoch().count()); },
      [self = caf::actor_cast<caf::actor>(this), group = order_->group,
       generation = order_->generation](Error why) {
        caf::anon_send(self, local(StepFault{group, generation, std::move(why)}));
      });
}

void ShardActor::send_report() {
  ProcessReport report = report_;
  report.process = setup_.start.process;
  report.incarnation = setup_.start.incarnation;
  report.describe = describe_;
  ActorReport own{setup_.start.process, Role::shard,        0, "",
                  mailbox().size(),     second_.lateness(), {}};
  if (!report.groups.empty())
    own.last_step_age = report.groups.front().last_step_age;
  else if (const int64_t at = stepped_at_->load(); at != 0)
    own.last_step_age = steady_now() - Time(Duration(at));
  report.actors.push_back(std::move(own));
  to_node(std::move(report));
}

void ShardActor::to_node(Message message) {
  send(setup_.node, wire(setup_.start.incarnation, std::move(message)));
}

}  // namespace troupe
