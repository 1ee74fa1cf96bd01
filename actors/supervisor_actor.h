// Shell of the NodeSupervisor machine in the node process. Its death ends the node: there is no one
// above it.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "actors/health_actor.h"
#include "actors/shell.h"
#include "actors/spawner.h"
#include "cluster/node_supervisor.h"
#include "net/child_start.h"
#include "net/shm_map.h"
#include "net/status_json.h"

namespace troupe {

/// The tree as the admin port shows it; written by the supervisor, read by the port's thread.
class SharedTree {
 public:
  void set(NodeTree tree) {
    std::lock_guard lock(mutex_);
    tree_ = std::move(tree);
  }
  NodeTree get() const {
    std::lock_guard lock(mutex_);
    return tree_;
  }

 private:
  mutable std::mutex mutex_;
  NodeTree tree_;
};

struct SupervisorActorConfig {
  NodeSupervisorConfig machine;
  /// What each child is told at its start; incarnation and role are filled in here.
  std::map<std::string, ChildStart> starts;
  /// Descriptors that go along: a router's listener.
  std::map<std::string, std::vector<int>> descriptors;
  std::function<void(SpawnCommand)> spawn;
  std::function<void(EndCommand)> end;
  std::function<void(ShareCommand)> share;
  std::function<Incarnation()> draw_incarnation;
  std::shared_ptr<SharedTree> tree;
  std::function<void(const std::string& router)> serving;  ///< a router can answer
  std::function<void(const Error&)> load_failed;           ///< a group could not load its model
  std::function<void()> stopped;                           ///< drained: nothing runs any more
};

class SupervisorActor : public caf::event_based_actor {
 public:
  SupervisorActor(caf::actor_config& config, SupervisorActorConfig setup);
  const char* name() const override { return "supervisor"; }
  void on_exit() override { send_exit(health_, caf::exit_reason::kill); }

 protected:
  /// WireBytes from children; Local<NodeInput> from the spawner and the admin port.
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
  void publish_tree();

  SupervisorActorConfig setup_;
  NodeSupervisor machine_;
  NodeEffects effects_;
  TickTimer timer_;
  SecondTick second_;
  caf::actor health_;
  std::map<std::string, Incarnation> watched_;  ///< for a health actor that starts anew
  ActorReport health_report_;
  std::deque<Time> health_deaths_;
  std::map<caf::actor_addr, Link> links_;
  std::map<GroupId, std::shared_ptr<ShmMap>> shared_;  ///< of the generations that run
};

}  // namespace troupe
