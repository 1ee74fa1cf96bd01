// Shell of the Router and GroupDialer machines in a router process: the bridge on one side, the
// node and the groups' batchers on the other.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "actors/cache_actor.h"
#include "actors/shell.h"
#include "cluster/group_dialer.h"
#include "cluster/restart_budget.h"
#include "cluster/router.h"
#include "net/bridge.h"
#include "net/child_start.h"

namespace troupe {

struct RouterActorConfig {
  ChildStart start;
  caf::actor node;       ///< the node's supervisor, also the journal peer
  caf::actor middleman;  ///< answers connect_atom
  CacheActorConfig cache;
  std::function<void(int code)> exit;
};

/// What reaches the router actor from the bridge's thread.
struct BridgeSubmit {
  ClientRequest request;
};
struct BridgeGone {
  RequestId id;
};
/// The bridge is up; it outlives the actor.
struct BridgeUp {
  Bridge* bridge = nullptr;
};

class RouterActor : public caf::event_based_actor {
 public:
  RouterActor(caf::actor_config& config, RouterActorConfig setup);
  const char* name() const override { return "router"; }
  void on_exit() override { send_exit(cache_, caf::exit_reason::kill); }

 protected:
  caf::behavior make_behavior() override;

 private:
  struct Peer {
    Incarnation incarnation;
    caf::actor batcher;
  };
  void on_bytes(const WireBytes& bytes);
  void on_group_message(GroupId group, const Peer& peer, Message message);
  void feed(const RouterInput& input);
  void dial(const DialerInput& input);
  void perform_dial(DialerEffect& effect);
  void serve(const dialer_out::Bundle& bundle);
  void follow_numerics(const RoutingTable& table);
  void push_state();
  void report();
  void start_cache();
  void to_node(Message message);

  RouterActorConfig setup_;
  Router machine_;
  GroupDialer dialer_;
  RouterEffects effects_;
  TickTimer timer_, dial_timer_;
  SecondTick second_;
  Bridge* bridge_ = nullptr;
  caf::actor cache_;
  ActorReport cache_report_;
  RestartBudget cache_budget_;
  std::map<GroupId, Peer> peers_;
  std::map<GroupId, std::pair<std::string, GroupStatus>> statuses_;
  std::map<std::string, std::shared_ptr<const ServedModel>> models_;
  std::map<GroupId, std::string> group_models_;
  bool draining_ = false, drained_ = false, serving_ = false;
  std::map<std::string, uint64_t> dropped_;  ///< by why: a few fixed words
};

/// The bridge's sink: posts to the actor.
class ActorSink final : public RequestSink {
 public:
  explicit ActorSink(caf::actor router) : router_(std::move(router)) {}
  void submit(ClientRequest request) override {
    caf::anon_send(router_, local(BridgeSubmit{std::move(request)}));
  }
  void client_gone(RequestId id) override { caf::anon_send(router_, local(BridgeGone{id})); }

 private:
  caf::actor router_;
};

}  // namespace troupe
