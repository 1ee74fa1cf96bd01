#include "actors/node_link.h"

#include <fmt/format.h>

#include "actors/caf_types.h"

namespace troupe {

Result<caf::actor> dial_node(caf::actor_system& system, const caf::actor& middleman,
                             const std::string& socket) {
  Result<caf::actor> result = fail(ErrorCode::unavailable, "");
  caf::scoped_actor self{system};
  self->request(middleman, std::chrono::seconds(5), caf::connect_atom::value, socket, uint16_t{1})
      .receive(
          [&](caf::node_id&, caf::strong_actor_ptr& peer, std::set<std::string>&) {
            if (peer) result = caf::actor_cast<caf::actor>(peer);
          },
          [&](const caf::error& error) {
            result =
                fail(ErrorCode::unavailable,
                     fmt::format("the node's socket {} does not answer ({}); is the node running?",
                                 socket, system.render(error)));
          });
  return result;
}

Hello hello_of(const ChildStart& start) {
  return {start.cluster, kWireVersion,  start.build,       start.node,
          start.role,    start.process, start.incarnation, start.config_digest};
}

}  // namespace troupe
