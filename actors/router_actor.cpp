#include "actors/router_actor.h"

#include <fmt/format.h>

#include <ctime>
#include <set>

#include "actors/log.h"
#include "actors/node_link.h"
#include "actors/served_model.h"
#include "cluster/serving_numerics.h"

namespace troupe {

namespace {

RouterConfig router_config(const ChildStart& start) {
  RouterConfig config;
  config.boot = start.incarnation;
  config.limits = start.limits;
  return config;
}

/// The end of a dial, on its way back to the actor.
struct DialEnd {
  GroupId group;
  Incarnation incarnation;
  caf::actor batcher;  ///< null: failed
};

}  // namespace

RouterActor::RouterActor(caf::actor_config& config, RouterActorConfig setup)
    : caf::event_based_actor(config),
      setup_(std::move(setup)),
      machine_(router_config(setup_.start)),
      dialer_(setup_.start.limits.timing_scale),
      timer_(this),
      dial_timer_(this, 1),
      second_(this) {
  die_on_exception(this, "router");
  cache_report_.id = setup_.start.node + "/cache";
  cache_report_.role = Role::cache;
}

caf::behavior RouterActor::make_behavior() {
  set_down_handler([this](caf::down_msg& down) {
    if (down.source == setup_.node.address()) {
      setup_.exit(70);  // without its node this process can neither journal nor be told anything
      return;
    }
    if (cache_ && down.source == cache_.address()) {
      ++cache_report_.restarts;
      cache_report_.last_error = home_system().render(down.reason);
      log_event(LogLevel::error, "the cache actor failed", {{"why", cache_report_.last_error}});
      if (cache_budget_.died(now_of(this))) return start_cache();
      log_event(LogLevel::error, "the cache actor keeps failing; the router ends");
      setup_.exit(70);
      return;
    }
    for (auto& [group, peer] : peers_) {
      if (peer.batcher.address() != down.source) continue;
      dial(dialer_in::Lost{group, peer.incarnation});
      return;
    }
  });
  monitor(setup_.node);
  start_cache();
  to_node(hello_of(setup_.start));
  second_.arm();
  return {
      [this](const WireBytes& bytes) { on_bytes(bytes); },
      [this](Local<BridgeSubmit>& submit) {
        feed(router_in::Submit{std::move(submit.value->request)});
      },
      [this](Local<BridgeGone>& gone) { feed(router_in::ClientGone{gone.value->id}); },
      [this](Local<BridgeUp>& up) {
        bridge_ = up.value->bridge;
        push_state();
      },
      [this](Local<router_in::CacheReply>& reply) { feed(*reply.value); },
      [this](Local<DialEnd>& end) {
        // A dial given up meanwhile may still succeed; it must not replace a newer link.
        if (end.value->batcher && dialer_.dialling(end.value->group, end.value->incarnation)) {
          monitor(end.value->batcher);
          peers_[end.value->group] = Peer{end.value->incarnation, end.value->batcher};
        }
        dial(dialer_in::Dialled{end.value->group, end.value->incarnation,
                                static_cast<bool>(end.value->batcher)});
      },
      [this](tick_atom, uint64_t number) {
        if (timer_.fired(number)) {
          feed(router_in::Tick{});
        } else if (dial_timer_.fired(number)) {
          dial(dialer_in::Tick{});
        }
      },
      [this](second_atom) {
        push_state();
        if (bridge_) bridge_->open();
        report();
        second_.arm();
      },
  };
}

void RouterActor::start_cache() {
  cache_ = home_system().spawn<CacheActor>(setup_.cache);
  monitor(cache_);
}

void RouterActor::on_bytes(const WireBytes& bytes) {
  auto envelope = decode(bytes);
  if (!envelope) {
    ++dropped_["it does not decode"];
    log_event(LogLevel::warning, "message dropped", {{"why", envelope.error().message}});
    return;
  }
  const auto sender = current_sender();
  if (sender == caf::actor_cast<caf::strong_actor_ptr>(setup_.node)) {
    if (auto* reply = std::get_if<HelloReply>(&envelope->message)) {
      if (!reply->accepted) {
        log_event(LogLevel::error, "the node refused this process", {{"why", reply->reason}});
        setup_.exit(70);
      }
    } else if (auto* table = std::get_if<RoutingTable>(&envelope->message)) {
      for (const GroupEndpoint& endpoint : table->groups)
        group_models_[endpoint.group] = endpoint.model;
      follow_numerics(*table);
      dial(dialer_in::Routing{*table});
      feed(router_in::Routing{std::move(*table)});
      push_state();
    } else if (auto* ack = std::get_if<JournalAck>(&envelope->message)) {
      feed(router_in::JournalAcked{*ack});
    } else if (std::holds_alternative<DrainOrder>(envelope->message)) {
      draining_ = true;
      if (bridge_) bridge_->drain();
      feed(router_in::Drain{});
      push_state();
    } else {
      ++dropped_["the node sends no such message"];
    }
    return;
  }
  for (const auto& [group, peer] : peers_) {
    if (caf::actor_cast<caf::strong_actor_ptr>(peer.batcher) != sender) continue;
    on_group_message(group, Peer(peer), std::move(envelope->message));
    return;
  }
  ++dropped_["from a process not accepted"];
}

void RouterActor::on_group_message(GroupId group, const Peer& peer, Message message) {
  if (auto* reply = std::get_if<HelloReply>(&message)) {
    dial(dialer_in::Greeted{group, peer.incarnation, std::move(*reply)});
  } else if (auto* chunk = std::get_if<BundleChunk>(&message)) {
    dial(dialer_in::Chunk{group, peer.incarnation, std::move(*chunk)});
  } else if (auto* batch = std::get_if<TokenBatch>(&message)) {
    feed(router_in::FromGroup{group, peer.incarnation, std::move(*batch)});
  } else if (auto* refused = std::get_if<Refused>(&message)) {
    feed(router_in::FromGroup{group, peer.incarnation, std::move(*refused)});
  } else if (auto* prefixes = std::get_if<PrefixReport>(&message)) {
    feed(router_in::FromGroup{group, peer.incarnation, std::move(*prefixes)});
  } else if (auto* status = std::get_if<GroupStatus>(&message)) {
    statuses_[group] = {group_models_[group], *status};
    feed(router_in::FromGroup{group, peer.incarnation, std::move(*status)});
    if (!serving_) push_state();  // it may be the one thing that was missing
  } else {
    ++dropped_["a group sends no such message"];
  }
}

void RouterActor::feed(const RouterInput& input) {
  machine_.step(now_of(this), input, effects_);
  std::vector<router_out::Deliver> deliveries;
  for (RouterEffect& effect : effects_) {
    if (auto* deliver = std::get_if<router_out::Deliver>(&effect)) {
      deliveries.push_back(std::move(*deliver));
    } else if (auto* to = std::get_if<router_out::ToGroup>(&effect)) {
      auto peer = peers_.find(to->group);
      if (peer != peers_.end() && peer->second.incarnation == to->incarnation)
        std::visit(
            [&](auto& m) {
              send(peer->second.batcher, wire(setup_.start.incarnation, std::move(m)));
            },
            to->message);
    } else if (auto* failure = std::get_if<router_out::Fail>(&effect)) {
      // Order within a request: what was delivered before goes first.
      if (bridge_ && !deliveries.empty()) bridge_->deliver(std::exchange(deliveries, {}));
      if (bridge_) bridge_->fail(std::move(*failure));
    } else if (auto* lookup = std::get_if<router_out::CacheLookup>(&effect)) {
      send(cache_, local(CacheLookupAsk{lookup->id, lookup->key}));
    } else if (auto* store = std::get_if<router_out::CacheStore>(&effect)) {
      send(cache_, local(CacheStoreAsk{store->key, std::move(store->response)}));
    } else if (auto* journal = std::get_if<router_out::Journal>(&effect)) {
      to_node(std::move(journal->append));
    } else if (std::holds_alternative<router_out::Drained>(effect)) {
      drained_ = true;
    } else if (auto* drop = std::get_if<router_out::Drop>(&effect)) {
      ++dropped_[drop->why];
    }
  }
  effects_.clear();
  if (bridge_ && !deliveries.empty()) bridge_->deliver(std::move(deliveries));
  timer_.arm(machine_.deadline());
  if (std::exchange(drained_, false)) {
    push_state();
    to_node(Drained{setup_.start.process});
  }
}

void RouterActor::dial(const DialerInput& input) {
  std::vector<DialerEffect> effects;
  dialer_.step(now_of(this), input, effects);
  for (DialerEffect& effect : effects) perform_dial(effect);
  dial_timer_.arm(dialer_.deadline());
}

void RouterActor::perform_dial(DialerEffect& effect) {
  if (auto* order = std::get_if<dialer_out::Dial>(&effect)) {
    auto answer = [self = caf::actor_cast<caf::actor>(this), group = order->group,
                   incarnation = order->incarnation](caf::actor batcher) {
      caf::anon_send(self, local(DialEnd{group, incarnation, std::move(batcher)}));
    };
    request(setup_.middleman, setup_.start.limits.scaled(kHandshakeTimeout),
            caf::connect_atom::value, order->socket, uint16_t{1})
        .then(
            [answer](caf::node_id&, caf::strong_actor_ptr& peer, std::set<std::string>&) {
              answer(peer ? caf::actor_cast<caf::actor>(peer) : caf::actor());
            },
            [answer](caf::error&) { answer(caf::actor()); });
  } else if (auto* hello = std::get_if<dialer_out::SendHello>(&effect)) {
    send(peers_.at(hello->group).batcher, wire(setup_.start.incarnation, hello_of(setup_.start)));
  } else if (auto* ask = std::get_if<dialer_out::SendBundleRequest>(&effect)) {
    send(peers_.at(ask->group).batcher, wire(setup_.start.incarnation, ask->request));
  } else if (auto* close = std::get_if<dialer_out::Close>(&effect)) {
    auto peer = peers_.find(close->group);
    if (peer != peers_.end() && peer->second.incarnation == close->incarnation) {
      demonitor(peer->second.batcher);
      peers_.erase(peer);
      statuses_.erase(close->group);
    }
  } else if (auto* bundle = std::get_if<dialer_out::Bundle>(&effect)) {
    serve(*bundle);
  } else if (auto* up = std::get_if<dialer_out::LinkUp>(&effect)) {
    feed(router_in::GroupLink{up->group, up->incarnation, true});
  } else if (auto* down = std::get_if<dialer_out::LinkDown>(&effect)) {
    feed(router_in::GroupLink{down->group, down->incarnation, false});
  } else if (auto* event = std::get_if<dialer_out::Event>(&effect)) {
    log_event(LogLevel::warning, event->text);
  }
}

void RouterActor::serve(const dialer_out::Bundle& bundle) {
  const GroupEndpoint& endpoint = bundle.endpoint;
  auto model = serve_bundle(endpoint, bundle.digest, bundle.bytes);
  if (!model) {
    dial(dialer_in::BundleRefused{endpoint.group, endpoint.incarnation, model.error().message});
    return;
  }
  model->created = static_cast<int64_t>(std::time(nullptr));
  models_[endpoint.model] = std::make_shared<const ServedModel>(std::move(*model));
  push_state();
  dial(dialer_in::BundleServed{endpoint.group, endpoint.incarnation});
}

void RouterActor::follow_numerics(const RoutingTable& table) {
  for (auto& [name, model] : models_) {
    const Digest numerics = serving_numerics(table, name, model->numerics_id);
    if (numerics == model->numerics_id) continue;
    auto changed = std::make_shared<ServedModel>(*model);
    changed->numerics_id = numerics;
    model = std::move(changed);
  }
}

void RouterActor::push_state() {
  if (!bridge_) return;
  std::vector<std::shared_ptr<const ServedModel>> models;
  std::set<std::string> served;
  for (const auto& [name, model] : models_) {
    models.push_back(model);
    served.insert(name);
  }
  bridge_->set_models(std::move(models));
  BridgeState state;
  state.readiness = machine_.readiness(now_of(this), served);
  state.stats = machine_.stats();
  state.draining = draining_;
  state.dropped = dropped_;
  if (setup_.cache.redis) state.redis = setup_.cache.redis->stats();
  for (const auto& [group, status] : statuses_) state.groups.push_back(status);
  const bool changed = std::exchange(serving_, state.readiness.ready) != state.readiness.ready;
  bridge_->set_state(std::move(state));
  // Once it can answer, and at the latest a second after its start: until then clients wait in the
  // backlog instead of being turned away.
  if (serving_) bridge_->open();
  if (changed) report();
}

void RouterActor::report() {
  ProcessReport report;
  report.process = setup_.start.process;
  report.incarnation = setup_.start.incarnation;
  const RouterStats stats = machine_.stats();
  report.serving = serving_;
  report.requests_running = stats.queued + stats.running;
  report.actors.push_back(
      {setup_.start.process, Role::router, 0, "", mailbox().size(), second_.lateness(), {}});
  report.actors.push_back(cache_report_);
  to_node(std::move(report));
}

void RouterActor::to_node(Message message) {
  send(setup_.node, wire(setup_.start.incarnation, std::move(message)));
}

}  // namespace troupe
