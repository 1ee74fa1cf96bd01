#include "net/codec_messages.h"

namespace troupe::codec {

void put(wire::Hello* to, const Hello& from) {
  to->set_cluster(from.cluster);
  to->set_wire_version(from.wire_version);
  to->set_build(from.build);
  to->set_node(from.node);
  to->set_role(static_cast<uint32_t>(from.role));
  to->set_process(from.process);
  to->set_incarnation(from.incarnation.value);
  put(to->mutable_config_digest(), from.config_digest);
}
Hello take(const wire::Hello& from) {
  Hello to;
  to.cluster = from.cluster();
  to.wire_version = from.wire_version();
  to.build = from.build();
  to.node = from.node();
  to.role = take_enum(from.role(), Role::client, "role");
  to.process = from.process();
  to.incarnation = Incarnation(from.incarnation());
  take(to.config_digest, from.config_digest(), "config digest");
  return to;
}

void put(wire::HelloReply* to, const HelloReply& from) {
  to->set_incarnation(from.incarnation.value);
  to->set_accepted(from.accepted);
  to->set_reason(from.reason);
}
HelloReply take(const wire::HelloReply& from) {
  return {Incarnation(from.incarnation()), from.accepted(), from.reason()};
}

void put(wire::GroupEndpoint* to, const GroupEndpoint& from) {
  to->set_group(from.group.value);
  to->set_model(from.model);
  to->set_node(from.node);
  to->set_generation(from.generation.value);
  to->set_state(static_cast<uint32_t>(from.state));
  to->set_reason(from.reason);
  to->set_socket(from.socket);
  to->set_incarnation(from.incarnation.value);
  put(to->mutable_weights_id(), from.weights_id);
  put(to->mutable_numerics_id(), from.numerics_id);
  to->set_context(from.context);
}
GroupEndpoint take(const wire::GroupEndpoint& from) {
  GroupEndpoint to;
  to.group = GroupId(from.group());
  to.model = from.model();
  to.node = from.node();
  to.generation = Generation(from.generation());
  to.state = take_enum(from.state(), GroupState::stopped, "group state");
  to.reason = from.reason();
  to.socket = from.socket();
  to.incarnation = Incarnation(from.incarnation());
  take(to.weights_id, from.weights_id(), "weights id");
  take(to.numerics_id, from.numerics_id(), "numerics id");
  to.context = from.context();
  return to;
}

void put(wire::RoutingTable* to, const RoutingTable& from) {
  to->set_node(from.node.value);
  to->set_version(from.version);
  for (const GroupEndpoint& group : from.groups) put(to->add_groups(), group);
  to->set_remark(from.remark);
  to->set_cut_off(from.cut_off);
}
RoutingTable take(const wire::RoutingTable& from) {
  RoutingTable to{Incarnation(from.node()), from.version(), {}, from.remark(), from.cut_off()};
  for (const auto& group : from.groups()) to.groups.push_back(take(group));
  return to;
}

void put(wire::DrainOrder* to, const DrainOrder& from) { to->set_within(from.within.count()); }
DrainOrder take(const wire::DrainOrder& from) { return {Duration(from.within())}; }

void put(wire::Drained* to, const Drained& from) { to->set_process(from.process); }
Drained take(const wire::Drained& from) { return {from.process()}; }

namespace {

void put(wire::LinkFigures* to, const LinkFigures& from) {
  to->set_accepted(from.accepted);
  to->set_dialled(from.dialled);
  to->set_ended(from.ended);
  to->set_open(from.open);
  to->set_unauthenticated(from.unauthenticated);
  to->set_bytes_in(from.bytes_in);
  to->set_bytes_out(from.bytes_out);
  to->mutable_refused()->Assign(from.refused.begin(), from.refused.end());
  to->mutable_failed()->Assign(from.failed.begin(), from.failed.end());
  to->set_certificate_expires(from.certificate_expires);
}
LinkFigures take(const wire::LinkFigures& from) {
  LinkFigures to;
  to.accepted = from.accepted();
  to.dialled = from.dialled();
  to.ended = from.ended();
  to.open = from.open();
  to.unauthenticated = from.unauthenticated();
  to.bytes_in = from.bytes_in();
  to.bytes_out = from.bytes_out();
  to.refused.assign(from.refused().begin(), from.refused().end());
  to.failed.assign(from.failed().begin(), from.failed().end());
  to.certificate_expires = from.certificate_expires();
  return to;
}

}  // namespace

void put(wire::ProcessReport* to, const ProcessReport& from) {
  to->set_process(from.process);
  to->set_incarnation(from.incarnation.value);
  for (const ActorReport& actor : from.actors) {
    auto* a = to->add_actors();
    a->set_id(actor.id);
    a->set_role(static_cast<uint32_t>(actor.role));
    a->set_restarts(actor.restarts);
    a->set_last_error(actor.last_error);
    a->set_mailbox_depth(actor.mailbox_depth);
    a->set_mailbox_age(actor.mailbox_age.count());
    a->set_last_step_age(actor.last_step_age.count());
  }
  for (const GroupStatus& group : from.groups) put(to->add_groups(), group);
  to->set_requests_running(from.requests_running);
  to->set_serving(from.serving);
  to->set_describe(from.describe);
  if (from.link) put(to->mutable_link(), *from.link);
}
ProcessReport take(const wire::ProcessReport& from) {
  ProcessReport to;
  to.process = from.process();
  to.incarnation = Incarnation(from.incarnation());
  for (const auto& a : from.actors()) {
    ActorReport& actor = to.actors.emplace_back();
    actor.id = a.id();
    actor.role = take_enum(a.role(), Role::client, "role");
    actor.restarts = a.restarts();
    actor.last_error = a.last_error();
    actor.mailbox_depth = a.mailbox_depth();
    actor.mailbox_age = Duration(a.mailbox_age());
    actor.last_step_age = Duration(a.last_step_age());
  }
  for (const auto& group : from.groups()) to.groups.push_back(take(group));
  to.requests_running = from.requests_running();
  to.serving = from.serving();
  to.describe = from.describe();
  if (from.has_link()) to.link = take(from.link());
  return to;
}

}  // namespace troupe::codec
