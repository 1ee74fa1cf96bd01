#include <algorithm>

#include "tests/sim/clients.h"
#include "tests/sim/hosts.h"

namespace troupe::sim {

namespace {

RouterConfig router_config(Cluster& cluster, Incarnation boot) {
  RouterConfig config{.boot = boot, .limits = {}, .has_journal_peer = true};
  cluster.tamper.config(config);
  return config;
}

}  // namespace

RouterHost::RouterHost(Cluster& c, std::shared_ptr<NodeHost> p, ChildSpec s, Incarnation i)
    : ChildHost(c, std::move(p), std::move(s), i), machine(router_config(c, i)) {}

void RouterHost::from_node(const Message& message) {
  if (const auto* reply = std::get_if<HelloReply>(&message)) {
    world.expect(reply->accepted, "{} was not accepted: {}", name, reply->reason);
  } else if (const auto* routing = std::get_if<RoutingTable>(&message)) {
    table = *routing;
    input(router_in::Routing{*routing});
    follow(*routing);
  } else if (const auto* ack = std::get_if<JournalAck>(&message)) {
    input(router_in::JournalAcked{*ack});
  } else if (std::holds_alternative<DrainOrder>(message)) {
    input(router_in::Drain{});
  }
}

void RouterHost::input(RouterInput in) {
  note_stale(in);
  cluster.tamper.to_router(in);
  RouterEffects effects;
  machine.step(world.now(), in, effects);
  machine.check();
  world.expect(machine.stats().stale_dropped >= stale_expected,
               "{}: a message of an old attempt was not dropped", name);
  cluster.tamper.from_router(effects);
  perform(std::move(effects));
  arm();
}

/// I12: what belongs to another attempt than the one placed last must be dropped and counted.
void RouterHost::note_stale(const RouterInput& in) {
  const auto* from = std::get_if<router_in::FromGroup>(&in);
  if (from == nullptr) return;
  uint64_t stale = 0;
  const auto count = [&](const SequenceKey& key, const AttemptId& attempt) {
    auto at = latest.find(key);
    if (at != latest.end() && at->second != attempt) ++stale;
  };
  if (const auto* batch = std::get_if<TokenBatch>(&from->message)) {
    for (const TokenChunk& chunk : batch->chunks) count(chunk.key, chunk.attempt);
  } else if (const auto* refused = std::get_if<Refused>(&from->message)) {
    count(refused->key, refused->attempt);
  }
  auto link = links.find(from->group);
  if (link == links.end() || link->second.first != from->incarnation) stale = stale > 0 ? 1 : 0;
  stale_expected = machine.stats().stale_dropped + stale;
}

void RouterHost::arm() {
  arm_timer(*this, timer, machine.deadline(), [this] { input(router_in::Tick{}); });
}

void RouterHost::perform(RouterEffects effects) {
  for (size_t i = 0; i < effects.size(); ++i) {
    perform_one(effects[i]);
    if (!alive) return;
    if (i + 1 < effects.size() && world.chance(world.faults.stop_after_send)) {
      world.stop(shared_from_this(), world.between(1ms, 300ms));
      held.push_front([this, rest = RouterEffects(effects.begin() + static_cast<long>(i) + 1,
                                                  effects.end())] { perform(rest); });
      return;
    }
  }
}

void RouterHost::perform_one(const RouterEffect& effect) {
  if (const auto* to = std::get_if<router_out::ToGroup>(&effect)) {
    if (const auto* enqueue = std::get_if<Enqueue>(&to->message))
      latest[enqueue->key] = enqueue->attempt;
    auto at = links.find(to->group);
    if (at == links.end() || at->second.first != to->incarnation) return;
    const LinkPtr link = at->second.second;
    auto shard = std::static_pointer_cast<ShardHost>(link->ends[1].process);
    const int copies = world.chance(world.faults.drop)        ? 0
                       : world.chance(world.faults.duplicate) ? 2
                                                              : 1;
    for (int i = 0; i < copies; ++i) {
      world.send(link, *this, [shard, id = incarnation, message = to->message] {
        std::visit([&](const auto& m) { shard->input(batcher_in::FromRouter{id, m}); }, message);
      });
    }
  } else if (const auto* deliver = std::get_if<router_out::Deliver>(&effect)) {
    cluster.clients.delivered(*this, *deliver);
  } else if (const auto* fail = std::get_if<router_out::Fail>(&effect)) {
    cluster.clients.failed(*this, *fail);
  } else if (const auto* lookup = std::get_if<router_out::CacheLookup>(&effect)) {
    if (world.chance(world.faults.cache_loss)) return;
    world.post(shared_from_this(), world.between(10us, 5ms), [this, l = *lookup] {
      auto found = cluster.cache.find(l.key);
      const bool hit = found != cluster.cache.end();
      input(router_in::CacheReply{l.id, hit ? CacheTier::memory : CacheTier::none,
                                  hit ? found->second : nullptr});
    });
  } else if (const auto* store = std::get_if<router_out::CacheStore>(&effect)) {
    cluster.cache[store->key] = store->response;
  } else if (const auto* journal = std::get_if<router_out::Journal>(&effect)) {
    if (!world.chance(world.faults.journal_drop)) tell_node(journal->append);
  } else if (std::holds_alternative<router_out::Drained>(effect)) {
    tell_node(troupe::Drained{name});
  }
}

/// As GroupDialer does: the connection stays, but nothing of it counts.
void RouterHost::unlink(GroupId group) {
  auto at = links.find(group);
  if (at == links.end()) return;
  const Incarnation gone = at->second.first;
  links.erase(at);
  input(router_in::GroupLink{group, gone, false});
}

void RouterHost::follow(const RoutingTable& routing) {
  for (const GroupEndpoint& endpoint : routing.groups) {
    if (endpoint.state == GroupState::stopped) unlink(endpoint.group);
    auto at = links.find(endpoint.group);
    if (endpoint.incarnation == Incarnation{} || dialling.contains(endpoint.group) ||
        endpoint.state == GroupState::stopped)
      continue;
    if (at == links.end() || at->second.first != endpoint.incarnation) dial(endpoint);
  }
}

void RouterHost::dial(const GroupEndpoint& endpoint) {
  dialling.insert(endpoint.group);
  world.post(shared_from_this(), world.between(1ms, 100ms), [this, endpoint] {
    dialling.erase(endpoint.group);
    const auto listed = std::ranges::find(table.groups, endpoint.group, &GroupEndpoint::group);
    if (listed == table.groups.end() || listed->incarnation != endpoint.incarnation ||
        listed->state == GroupState::stopped)
      return follow(table);
    for (const auto& shard : cluster.shards()) {
      if (shard->incarnation != endpoint.incarnation || world.now() < shard->stopped_until ||
          !cluster.reachable(host, shard->host))
        continue;
      auto self = std::static_pointer_cast<RouterHost>(shared_from_this());
      const GroupId group = endpoint.group;
      auto link = std::make_shared<LinkPtr>();
      *link = world.connect(
          self, shard,
          [this, group, i = endpoint.incarnation] {
            auto at = links.find(group);
            if (at == links.end() || !at->second.second->closed || at->second.first != i) return;
            links.erase(at);
            input(router_in::GroupLink{group, i, false});
            follow(table);
          },
          [s = shard.get(), router = incarnation] {
            auto at = s->routers.find(router);
            if (at == s->routers.end() || !at->second->closed) return;
            s->routers.erase(at);
            s->input(batcher_in::RouterLost{router});
          });
      if (!shard->accept(self, *link)) {
        (*link)->closed = true;
        break;
      }
      // A connection of this group that has not been noticed as lost is replaced now.
      if (auto old = links.find(group); old != links.end()) {
        input(router_in::GroupLink{group, old->second.first, false});
      }
      links[group] = {endpoint.incarnation, *link};
      input(router_in::GroupLink{group, endpoint.incarnation, true});
      return;
    }
    follow(table);
  });
}

}  // namespace troupe::sim
