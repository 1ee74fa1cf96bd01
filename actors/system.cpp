#include "actors/system.h"

#include "actors/caf_types.h"

namespace troupe {

SystemConfig::SystemConfig() {
  using namespace std::chrono_literals;
  load<caf::io::middleman>();
  add_message_type<WireBytes>("troupe_bytes");
  set("scheduler.max-threads", size_t{2});
  set("scheduler.policy", caf::atom("sharing"));
  set("middleman.workers", size_t{0});
  set("middleman.heartbeat-interval", caf::timespan{1s});
  set("middleman.connection-timeout", caf::timespan{4s});
}

}  // namespace troupe
