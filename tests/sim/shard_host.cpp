#include <algorithm>
#include <type_traits>

#include "tests/sim/hosts.h"

namespace troupe::sim {

ShardHost::ShardHost(Cluster& c, std::shared_ptr<NodeHost> p, ChildSpec s, Incarnation i)
    : ChildHost(c, std::move(p), std::move(s), i) {}

void ShardHost::from_node(const Message& message) {
  if (const auto* reply = std::get_if<HelloReply>(&message)) {
    world.expect(reply->accepted, "{} was not accepted: {}", name, reply->reason);
  } else if (const auto* told = std::get_if<LoadOrder>(&message)) {
    world.expect(!order, "{} is told to load twice", name);
    order = *told;
    world.post(shared_from_this(), world.between(20ms, 200ms), [this] { prepare(); });
  } else if (const auto* others = std::get_if<RankJoin>(&message)) {
    join(*others);
  } else if (std::holds_alternative<AbortOrder>(message)) {
    // It cannot give up a step in place: its process ends and its parent starts a new one.
    parent->end(name, incarnation, world.between(1ms, 20ms));
  } else if (std::holds_alternative<DrainOrder>(message)) {
    if (batcher) input(batcher_in::Drain{});
  }
}

void ShardHost::load() {
  if (world.chance(world.faults.load_failure))
    return fail_load({ErrorCode::data_loss, "The model file is damaged: fetch it again.", {}});
  LoadReport report{
      .group = order->group, .generation = order->generation, .rank = order->rank, .ok = true};
  config = cluster.batcher;
  if (order->pipeline_parallel > 1) config.lanes = order->pipeline_parallel;
  partition = std::make_unique<OraclePartition>(OracleOptions{.lanes = config.lanes});
  stage_free.assign(static_cast<size_t>(config.lanes), world.now());
  const Budget budget{.kv_blocks = config.kv_blocks,
                      .max_rows = config.max_rows,
                      .max_slots = config.max_slots,
                      .context = config.context};
  const OracleWeights weights;
  const auto capabilities =
      partition->load(weights, oracle_spec(), {.ranks = {RankPlan{}}}, 0, budget);
  if (!capabilities) return world.violation(capabilities.error().message);
  serving = order->generation;
  config.group = order->group;
  config.generation = order->generation;
  config.epoch = incarnation.value;
  config.weights_id = weights.weights_id();
  config.numerics_id = capabilities->numerics_id;
  config.vocab = kOracleVocab;
  report.weights_id = config.weights_id;
  report.numerics_id = config.numerics_id;
  report.context = config.context;
  report.kv_blocks = config.kv_blocks;
  if (order->rank == 0) {
    batcher.emplace(config);
    arm();
  }
  tell_node(report);
  take_part();
}

bool ShardHost::accept(const std::shared_ptr<RouterHost>& router, LinkPtr link) {
  if (!batcher) return false;
  routers[router->incarnation] = std::move(link);
  input(batcher_in::RouterJoined{router->incarnation});
  return true;
}

void ShardHost::input(BatcherInput in) {
  const auto* from = std::get_if<batcher_in::FromRouter>(&in);
  const auto* enqueue = from ? std::get_if<Enqueue>(&from->message) : nullptr;
  const bool foreign = enqueue && enqueue->generation != config.generation;
  cluster.tamper.to_batcher(config, in);
  BatcherEffects effects;
  batcher->step(world.now(), in, effects);
  batcher->check();
  if (foreign) {
    const bool refused = std::ranges::any_of(effects, [](const BatcherEffect& e) {
      const auto* to = std::get_if<batcher_out::ToRouter>(&e);
      return std::holds_alternative<batcher_out::Drop>(e) ||
             (to && std::holds_alternative<Refused>(to->message));
    });
    world.expect(refused, "{} took a request for another generation", name);
  }
  cluster.tamper.from_batcher(effects);
  perform(std::move(effects));
  arm();
}

void ShardHost::arm() {
  arm_timer(*this, timer, batcher->deadline(), [this] { input(batcher_in::Tick{}); });
}

void ShardHost::perform(BatcherEffects effects) {
  for (size_t i = 0; i < effects.size(); ++i) {
    perform_one(effects[i]);
    if (i + 1 < effects.size() && world.chance(world.faults.stop_after_send)) {
      world.stop(shared_from_this(), world.between(1ms, 300ms));
      held.push_front([this, rest = BatcherEffects(effects.begin() + static_cast<long>(i) + 1,
                                                   effects.end())] { perform(rest); });
      return;
    }
  }
}

void ShardHost::perform_one(const BatcherEffect& effect) {
  if (const auto* step = std::get_if<batcher_out::RunStep>(&effect)) {
    run(*step);
  } else if (const auto* to = std::get_if<batcher_out::ToRouter>(&effect)) {
    auto at = routers.find(to->router);
    if (at == routers.end()) return;
    auto router = std::static_pointer_cast<RouterHost>(at->second->ends[0].process);
    const int copies = world.chance(world.faults.drop)        ? 0
                       : world.chance(world.faults.duplicate) ? 2
                                                              : 1;
    for (int i = 0; i < copies; ++i) {
      world.send(at->second, *this,
                 [router, g = spec.group, id = incarnation, message = to->message] {
                   std::visit(
                       [&]<class M>(const M& m) {
                         // Routers of the simulator know their models: no bundle travels.
                         if constexpr (!std::is_same_v<M, BundleChunk>)
                           router->input(router_in::FromGroup{g, id, m});
                       },
                       message);
                 });
    }
  } else if (const auto* fault = std::get_if<batcher_out::Fault>(&effect)) {
    world.trace(name, "fault: {}", fault->fault.error.message);
    tell_node(fault->fault);
  } else if (std::holds_alternative<batcher_out::Drained>(effect)) {
    tell_node(Drained{name});
  }
}

void ShardHost::run(const batcher_out::RunStep& step) {
  plans.push_back(step.plan);
  const auto plans_max = static_cast<size_t>(plans_in_flight_max(config.lanes));
  world.expect(plans.size() <= plans_max, "{} has {} plans in flight", name, plans.size());
  start_ready();
}

/// A plan enters the pipeline when the one before it in its lane is done, and each stage when that
/// has done the plan before.
void ShardHost::start_ready() {
  for (; started < plans.size(); ++started) {
    const StepPlan& plan = *plans[started];
    const bool waits =
        std::any_of(plans.begin(), plans.begin() + static_cast<long>(started),
                    [&](const auto& before) { return before->key.lane == plan.key.lane; });
    if (waits || hung) return;
    hung = world.chance(world.faults.hang);
    if (hung) return world.trace(name, "step {} hangs", plan.key.step);
    const auto rows = static_cast<int64_t>(plan.tokens.size());
    Time there = world.now();
    for (Time& free : stage_free)
      free = there = std::max(there, free) + world.between(500us, 3ms) + rows * 50us;
    world.post(shared_from_this(), there - world.now(), [this] { finish_oldest(); });
  }
}

void ShardHost::finish_oldest() {
  if (!others_step()) return;
  const std::shared_ptr<const StepPlan> plan = plans.front();
  if (world.chance(world.faults.step_error)) {
    return input(
        batcher_in::StepFailed{plan->key, Error{ErrorCode::internal, "the device gave up"}});
  }
  const auto output = partition->wait(partition->submit(*plan), 1s);
  if (!output) return world.violation(name + ": " + output.error().message);
  auto answer = std::make_shared<StepOutput>(**output);
  if (world.chance(world.faults.nonfinite)) answer->slices.front().flags |= kNonfinite;
  plans.pop_front();
  --started;
  // The device goes on at once; the batcher hears of it a little later.
  start_ready();
  world.post(shared_from_this(), world.between(0us, 200us),
             [this, answer] { input(batcher_in::StepDone{answer}); });
}

}  // namespace troupe::sim
