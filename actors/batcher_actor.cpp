#include "actors/batcher_actor.h"

#include "actors/log.h"
#include "cluster/hello_rules.h"

namespace troupe {

BatcherActor::BatcherActor(caf::actor_config& config, BatcherActorConfig setup)
    : caf::event_based_actor(config),
      setup_(std::move(setup)),
      machine_(std::move(setup_.machine)),
      timer_(this),
      second_(this) {
  die_on_exception(this, "batcher");
}

caf::behavior BatcherActor::make_behavior() {
  set_down_handler([this](caf::down_msg& down) {
    for (auto at = routers_.begin(); at != routers_.end(); ++at) {
      if (at->second.address() != down.source) continue;
      const RouterId router = at->first;
      routers_.erase(at);
      feed(batcher_in::RouterLost{router});
      return;
    }
  });
  second_.arm();
  feed(batcher_in::Tick{});
  return {
      [this](const WireBytes& bytes) { on_bytes(bytes); },
      [this](Local<BatcherInput>& input) { feed(*input.value); },
      [this](tick_atom, uint64_t number) {
        if (timer_.fired(number)) feed(batcher_in::Tick{});
      },
      [this](second_atom) {
        BatcherReport report{
            {setup_.id, Role::batcher, 0, "", mailbox().size(), second_.lateness(), {}}, status()};
        report.actor.last_step_age = report.status.last_step_age;
        send(setup_.shard, local(std::move(report)));
        second_.arm();
      },
  };
}

void BatcherActor::on_bytes(const WireBytes& bytes) {
  auto envelope = decode(bytes);
  if (!envelope) {
    drop(GroupDrop::damaged);
    log_event(LogLevel::warning, "message dropped", {{"why", envelope.error().message}});
    return;
  }
  if (auto* hello = std::get_if<Hello>(&envelope->message)) {
    on_hello(*hello);
    return;
  }
  auto router = routers_.find(envelope->sender);
  if (router == routers_.end() ||
      caf::actor_cast<caf::strong_actor_ptr>(router->second) != current_sender()) {
    drop(GroupDrop::not_accepted);
    return;
  }
  if (auto* enqueue = std::get_if<Enqueue>(&envelope->message)) {
    feed(batcher_in::FromRouter{envelope->sender, std::move(*enqueue)});
  } else if (auto* cancel = std::get_if<Cancel>(&envelope->message)) {
    feed(batcher_in::FromRouter{envelope->sender, std::move(*cancel)});
  } else if (auto* request = std::get_if<BundleRequest>(&envelope->message)) {
    feed(batcher_in::FromRouter{envelope->sender, *request});
  } else if (auto* prefixes = std::get_if<PrefixRequest>(&envelope->message)) {
    feed(batcher_in::FromRouter{envelope->sender, *prefixes});
  } else {
    drop(GroupDrop::unexpected);
  }
}

void BatcherActor::on_hello(const Hello& hello) {
  const auto judged = judge_hello(hello, {.cluster = setup_.cluster,
                                          .build = setup_.build,
                                          .wire_version = kWireVersion,
                                          .role = Role::router});
  const std::string reason = judged ? "" : judged.error().message;
  auto peer = caf::actor_cast<caf::actor>(current_sender());
  send(peer, wire(setup_.incarnation, HelloReply{setup_.incarnation, judged.has_value(), reason}));
  if (!judged) {
    log_event(LogLevel::warning, "hello refused", {{"from", hello.process}, {"why", reason}});
    return;
  }
  if (auto old = routers_.find(hello.incarnation); old != routers_.end()) demonitor(old->second);
  monitor(peer);
  routers_[hello.incarnation] = peer;
  feed(batcher_in::RouterJoined{hello.incarnation});
}

void BatcherActor::feed(const BatcherInput& input) {
  machine_.step(now_of(this), input, effects_);
  for (BatcherEffect& effect : effects_) perform(effect);
  effects_.clear();
  timer_.arm(machine_.deadline());
}

void BatcherActor::perform(BatcherEffect& effect) {
  if (auto* run = std::get_if<batcher_out::RunStep>(&effect)) {
    // The machine itself watches the deadline; the lane's own limit is only there to free its
    // thread later.
    setup_.lane->run(run->plan, run->deadline + kAbortDeadline,
                     [self = caf::actor_cast<caf::actor>(this)](BatcherInput done) {
                       caf::anon_send(self, local(std::move(done)));
                     });
  } else if (auto* to = std::get_if<batcher_out::ToRouter>(&effect)) {
    auto router = routers_.find(to->router);
    if (router == routers_.end()) return;
    if (auto* status = std::get_if<GroupStatus>(&to->message)) status->dropped = dropped_;
    std::visit(
        [&](auto& message) { send(router->second, wire(setup_.incarnation, std::move(message))); },
        to->message);
  } else if (auto* fault = std::get_if<batcher_out::Fault>(&effect)) {
    log_event(LogLevel::error, "the generation is dead",
              {{"generation", std::to_string(fault->fault.generation.value)},
               {"why", fault->fault.error.message}});
    setup_.lane->abort();
    send(setup_.shard, local(std::move(fault->fault)));
  } else if (auto* drained = std::get_if<batcher_out::Drained>(&effect)) {
    send(setup_.shard, local(*drained));
  } else if (std::get_if<batcher_out::Drop>(&effect)) {
    drop(GroupDrop::stale);
  }
}

GroupStatus BatcherActor::status() {
  GroupStatus status = machine_.status(now_of(this));
  status.dropped = dropped_;
  return status;
}

}  // namespace troupe
