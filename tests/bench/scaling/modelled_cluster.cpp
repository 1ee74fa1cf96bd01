#include "tests/bench/scaling/modelled_cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "config/check.h"
#include "config/mix.h"
#include "model/tokenizer.h"

namespace troupe::scaling {

namespace {

constexpr Generation kGeneration{1};
const char* const kModel = "modelled";

Incarnation process_of(GroupId group) { return Incarnation(1000 + group.value); }

}  // namespace

struct ModelledCluster::GroupHost {
  GroupHost(GroupId id, const BatcherConfig& config, const PlanTimer& timer)
      : group(id), batcher(config), device(timer, config.vocab) {}
  GroupId group;
  Batcher batcher;
  ModelledDevice device;
  Timer timer;
};

struct ModelledCluster::RouterHost {
  explicit RouterHost(RouterConfig config) : process(config.boot), router(std::move(config)) {}
  Incarnation process;
  Router router;
  Timer timer;
};

ModelledCluster::ModelledCluster(ClusterShape shape)
    : shape_(std::move(shape)), tokenizer_(Tokenizer::make(oracle_tokenizer_spec()).value()) {
  shape_.batcher.vocab = tokenizer_->vocab();
  for (int i = 0; i < shape_.groups; ++i) {
    BatcherConfig config = shape_.batcher;
    config.group = GroupId(static_cast<uint32_t>(i));
    config.generation = kGeneration;
    config.epoch = process_of(config.group).value;
    groups_.push_back(std::make_unique<GroupHost>(config.group, config, shape_.timer));
  }
  for (int i = 0; i < shape_.routers; ++i) {
    RouterConfig config{.boot = Incarnation(static_cast<uint64_t>(i) + 1),
                        .has_journal_peer = false};
    config.limits.router_requests = static_cast<int64_t>(shape_.router_requests);
    routers_.push_back(std::make_unique<RouterHost>(std::move(config)));
  }
  start();
}

ModelledCluster::~ModelledCluster() = default;

void ModelledCluster::start() {
  RoutingTable table{.node = Incarnation(99), .version = 1};
  for (const auto& group : groups_) {
    table.groups.push_back({.group = group->group,
                            .model = kModel,
                            .node = "n1",
                            .generation = kGeneration,
                            .state = GroupState::ready,
                            .incarnation = process_of(group->group),
                            .numerics_id = shape_.batcher.numerics_id,
                            .context = shape_.batcher.context});
  }
  for (auto& router : routers_) to_router(*router, router_in::Routing{table});
  for (auto& group : groups_) {
    to_group(*group, batcher_in::Tick{});
    for (auto& router : routers_) {
      to_group(*group, batcher_in::RouterJoined{router->process});
      to_router(*router, router_in::GroupLink{group->group, process_of(group->group), true});
    }
  }
  run_until(kReady);
}

void ModelledCluster::ask(int router, std::vector<TokenId> prompt, int32_t max_new, Done done,
                          const Salt& tenant) {
  ClientRequest request;
  request.id = RequestId{7, ++asked_};
  request.model = kModel;
  request.tokenizer = tokenizer_;
  request.prompt = std::move(prompt);
  request.max_new = max_new;
  request.sampling.temperature = 0;
  request.sampling.seed = mix64(asked_);
  request.deadline = kRequestDeadlineDefault;
  request.tenant = tenant;
  Answered answer;
  answer.submitted = now_;
  answer.prompt_tokens = static_cast<int32_t>(request.prompt.size());
  waiting_.emplace(request.id, Waiting{std::move(answer), std::move(done)});
  to_router(*routers_.at(static_cast<size_t>(router)), router_in::Submit{std::move(request)});
}

void ModelledCluster::at(Time time, std::function<void()> what) {
  queue_.push({std::max(time, now_), ++events_, std::move(what)});
}

bool ModelledCluster::run_event() {
  if (queue_.empty()) return false;
  Event event = queue_.top();
  queue_.pop();
  now_ = event.time;
  event.what();
  return true;
}

void ModelledCluster::run_until(Time end) {
  while (!queue_.empty() && queue_.top().time <= end) run_event();
  now_ = std::max(now_, end);
}

void ModelledCluster::run_out(Time end) {
  while (!waiting_.empty() && now_ < end) TROUPE_CHECK(run_event());
  TROUPE_CHECK(waiting_.empty(), waiting_.size());
}

GroupStatus ModelledCluster::status(int group) const {
  return groups_.at(static_cast<size_t>(group))->batcher.status(now_);
}
Duration ModelledCluster::busy(int group) const {
  return groups_.at(static_cast<size_t>(group))->device.busy();
}

template <class Host>
void ModelledCluster::arm(Host& host) {
  std::optional<Time> due;
  if constexpr (std::is_same_v<Host, GroupHost>)
    due = host.batcher.deadline();
  else
    due = host.router.deadline();
  if (!due || host.timer.armed <= *due) return;  // an earlier tick arms anew
  host.timer.armed = std::max(*due, now_);
  at(host.timer.armed, [this, &host, when = host.timer.armed] {
    if (host.timer.armed != when) return;
    host.timer.armed = Time::max();
    if constexpr (std::is_same_v<Host, GroupHost>)
      to_group(host, batcher_in::Tick{});
    else
      to_router(host, router_in::Tick{});
  });
}

void ModelledCluster::to_group(GroupHost& group, const BatcherInput& input) {
  BatcherEffects effects;
  group.batcher.step(now_, input, effects);
  perform(group, std::move(effects));
  arm(group);
}

void ModelledCluster::to_router(RouterHost& router, RouterInput input) {
  RouterEffects effects;
  router.router.step(now_, input, effects);
  perform(router, std::move(effects));
  arm(router);
}

void ModelledCluster::perform(GroupHost& group, BatcherEffects effects) {
  for (BatcherEffect& effect : effects) {
    if (auto* step = std::get_if<batcher_out::RunStep>(&effect)) {
      run_step(group, *step);
    } else if (auto* to = std::get_if<batcher_out::ToRouter>(&effect)) {
      if (shape_.prefixes == Reports::withheld) {
        if (std::holds_alternative<PrefixReport>(to->message)) continue;
        // Nor is there anything to ask for.
        if (auto* status = std::get_if<GroupStatus>(&to->message)) status->prefix_version = 0;
      }
      const auto router = std::ranges::find_if(
          routers_, [&](const auto& host) { return host->process == to->router; });
      TROUPE_CHECK(router != routers_.end());
      at(now_ + shape_.message,
         [this, &router = **router, id = group.group, message = std::move(to->message)] {
           std::visit(
               [&]<class M>(const M& m) {
                 if constexpr (!std::is_same_v<M, BundleChunk>)
                   to_router(router, router_in::FromGroup{id, process_of(id), m});
               },
               message);
         });
    } else {
      // Nothing is stale, nothing drains, and no step is late: the model of the device is wrong.
      const auto* fault = std::get_if<batcher_out::Fault>(&effect);
      TROUPE_CHECK(fault == nullptr, fault ? fault->fault.error.message.c_str() : "");
    }
  }
}

void ModelledCluster::run_step(GroupHost& group, const batcher_out::RunStep& step) {
  const Time done = group.device.submit(now_, *step.plan);
  at(done + shape_.step_host, [this, &group, plan = step.plan] {
    to_group(group,
             batcher_in::StepDone{std::make_shared<const StepOutput>(group.device.answer(*plan))});
  });
}

void ModelledCluster::perform(RouterHost& router, RouterEffects effects) {
  for (RouterEffect& effect : effects) {
    if (auto* to = std::get_if<router_out::ToGroup>(&effect)) {
      GroupHost& group = *groups_.at(to->group.value);
      at(now_ + shape_.message, [this, &group, id = router.process,
                                 message = std::move(to->message)] {
        std::visit([&](const auto& m) { to_group(group, batcher_in::FromRouter{id, m}); }, message);
      });
    } else if (auto* piece = std::get_if<router_out::Deliver>(&effect)) {
      deliver(*piece);
    } else if (auto* failure = std::get_if<router_out::Fail>(&effect)) {
      auto node = waiting_.extract(failure->id);
      TROUPE_CHECK(!node.empty());
      node.mapped().so_far.failed = failure->error;
      node.mapped().done(node.mapped().so_far);
    }
  }
}

void ModelledCluster::deliver(const router_out::Deliver& deliver) {
  const auto found = waiting_.find(deliver.id);
  TROUPE_CHECK(found != waiting_.end());
  Answered& answer = found->second.so_far;
  for (const router_out::Piece& piece : deliver.pieces) {
    for (TokenId token : piece.tokens) {
      if (answer.tokens.empty()) answer.first = now_;
      answer.last = now_;
      answer.tokens.push_back(token);
      answer.arrivals.push_back(now_);
    }
  }
  if (!deliver.last) return;
  answer.cached_tokens = deliver.timings.cached_tokens;
  const auto node = waiting_.extract(found);
  node.mapped().done(node.mapped().so_far);
}

}  // namespace troupe::scaling
