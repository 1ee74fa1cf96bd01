// Shell of the NodeSupervisor machine in the node process. Its death ends the node: there is no one
// above it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "actors/health_actor.h"
#include "actors/peer_links.h"
#include "actors/shell.h"
#include "actors/spawner.h"
#include "cluster/node_supervisor.h"
#include "cluster/restart_budget.h"
#include "net/child_start.h"
#include "net/shm_map.h"
#include "net/status_json.h"

namespace troupe {

/// The trees as the admin port shows them; written by the supervisor, read by the port's thread.
class SharedTree {
 public:
  void set(NodeTree own, std::vector<NodeTree> all) {
    std::lock_guard lock(mutex_);
    own_ = std::move(own);
    all_ = std::move(all);
  }
  /// Of this node.
  NodeTree get() const {
    std::lock_guard lock(mutex_);
    return own_;
  }
  /// Of all nodes of the config, in its order.
  std::vector<NodeTree> all() const {
    std::lock_guard lock(mutex_);
    return all_;
  }

 private:
  mutable std::mutex mutex_;
  NodeTree own_;
  std::vector<NodeTree> all_;
};

struct SupervisorActorConfig {
  NodeSupervisorConfig machine;
  /// What each child is told at its start; incarnation and role are filled in here.
  std::map<std::string, ChildStart> starts;
  /// Descriptors that go along: a router's listener.
  std::map<std::string, std::vector<int>> descriptors;
  /// Of the config, in its order; empty: this one alone.
  std::vector<std::string> nodes;
  std::map<std::string, std::string> doors;  ///< of the nodes that this one dials
  caf::actor middleman;                      ///< answers connect_atom
  /// Carries out a spawn by calling `go`, any thread, once what the process needs is there; it may
  /// add to what the process is told. Unset: at once.
  std::function<void(ChildStart start, std::function<void(const ChildStart&)> go)> prepare;
  std::function<void(SpawnCommand)> spawn;
  std::function<void(EndCommand)> end;
  std::function<void(ShareCommand)> share;
  std::function<Incarnation()> draw_incarnation;
  std::shared_ptr<SharedTree> tree;
  std::function<void(const std::string& router)> serving;  ///< a router can answer
  std::function<void(const Error&)> load_failed;           ///< a group could not load its model
  std::function<void()> stopped;                           ///< drained: nothing runs any more
  std::function<void(int code)> exit;                      ///< ends the process
};

class SupervisorActor : public caf::event_based_actor {
 public:
  SupervisorActor(caf::actor_config& config, SupervisorActorConfig setup);
  const char* name() const override { return "supervisor"; }
  void on_exit() override { send_exit(health_, caf::exit_reason::kill); }

 protected:
  /// WireBytes from children and other nodes; Local<NodeInput> from the spawner and the admin port.
  caf::behavior make_behavior() override;

 private:
  struct Link {
    std::string child;
    Incarnation incarnation;
    caf::actor peer;
  };
  void on_bytes(const WireBytes& bytes);
  void feed(const NodeInput& input);
  void perform(NodeEffect& effect);
  void share(const node_out::Share& share);
  void unshare(const node_out::Unshare& over);
  void start_health();
  void watch(const std::string& name);
  std::vector<ActorStatus> own_rows();
  void publish_tree();

  SupervisorActorConfig setup_;
  NodeSupervisor machine_;
  NodeEffects effects_;
  TickTimer timer_;
  SecondTick second_;
  caf::actor health_;
  std::map<std::string, Incarnation> watched_;  ///< for a health actor that starts anew
  ActorReport health_report_;
  RestartBudget health_budget_;
  std::map<caf::actor_addr, Link> links_;
  PeerLinks peers_;
  std::map<GroupId, std::shared_ptr<ShmMap>> shared_;  ///< of the generations that run
};

}  // namespace troupe
