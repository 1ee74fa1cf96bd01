// Shell of a link process: greets the node, reports once a second, cuts the streams of a node that
// was found dead, logs what was refused once a minute and takes replaced certificates into use. The
// link itself runs on its own thread.
#pragma once

#include <chrono>
#include <functional>

#include "actors/shell.h"
#include "net/child_start.h"
#include "net/link.h"

namespace troupe {

struct LinkActorConfig {
  ChildStart start;
  caf::actor node;  ///< the node's supervisor
  std::function<LinkStats()> stats;
  std::function<std::chrono::sys_seconds()> certificate_expires;
  /// Link::reload_if_replaced.
  std::function<Result<bool>()> refresh;
  /// Link::cut.
  std::function<void(const std::string& node)> cut;
  /// Ends the process with this code; tests record it instead.
  std::function<void(int code)> exit;
};

class LinkActor : public caf::event_based_actor {
 public:
  LinkActor(caf::actor_config& config, LinkActorConfig setup);
  const char* name() const override { return "link"; }

 protected:
  caf::behavior make_behavior() override;

 private:
  void on_bytes(const WireBytes& bytes);
  void report();
  void look_back();

  LinkActorConfig setup_;
  SecondTick second_;
  Time next_look_{};
  LinkStats seen_;  ///< at the last look
};

}  // namespace troupe
