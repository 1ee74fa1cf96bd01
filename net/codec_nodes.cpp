#include "config/limits.h"
#include "net/codec_messages.h"

namespace troupe::codec {

void put(wire::NodeReport* to, const NodeReport& from) {
  to->set_node(from.node.value);
  to->set_version(from.version);
  to->set_state(from.state);
  for (const GroupEndpoint& group : from.groups) put(to->add_groups(), group);
  for (const ActorStatus& actor : from.actors) {
    auto* a = to->add_actors();
    a->set_id(actor.id);
    a->set_role(static_cast<uint32_t>(actor.role));
    a->set_pid(actor.pid);
    a->set_state(actor.state);
    a->set_reason(actor.reason);
    a->set_generation(actor.generation);
    a->set_restarts(actor.restarts);
    a->set_last_error(actor.last_error);
    a->set_mailbox_depth(actor.mailbox_depth);
    a->set_mailbox_age(actor.mailbox_age.count());
    a->set_last_step_age(actor.last_step_age.count());
    a->set_model(actor.model);
    a->set_describe(actor.describe);
    a->set_group(actor.group);
    a->set_rank(actor.rank);
  }
}
NodeReport take(const wire::NodeReport& from) {
  NodeReport to{Incarnation(from.node()), from.version(), from.state(), {}, {}};
  for (const auto& group : from.groups()) to.groups.push_back(take(group));
  if (static_cast<size_t>(from.actors_size()) > kNodeReportActorsMax)
    throw BadField{"number of actors"};
  for (const auto& a : from.actors()) {
    ActorStatus& actor = to.actors.emplace_back();
    actor.id = a.id();
    actor.role = take_enum(a.role(), Role::client, "role");
    actor.pid = a.pid();
    actor.state = a.state();
    actor.reason = a.reason();
    actor.generation = a.generation();
    actor.restarts = a.restarts();
    actor.last_error = a.last_error();
    actor.mailbox_depth = a.mailbox_depth();
    actor.mailbox_age = Duration(a.mailbox_age());
    actor.last_step_age = Duration(a.last_step_age());
    actor.model = a.model();
    actor.describe = a.describe();
    actor.group = a.group();
    actor.rank = a.rank();
  }
  return to;
}

void put(wire::CutOrder* to, const CutOrder& from) { to->set_node(from.node); }
CutOrder take(const wire::CutOrder& from) { return {from.node()}; }

}  // namespace troupe::codec
