#include "net/status_json.h"

#include <fmt/format.h>

#include "net/json_writer.h"

namespace troupe {

namespace {

void write_actor(JsonWriter& w, const ActorStatus& a) {
  w.begin_object()
      .field("id", a.id)
      .field("role", name_of(a.role))
      .field("pid", a.pid)
      .field("state", a.state);
  if (!a.reason.empty()) w.field("reason", a.reason);
  w.field("generation", int64_t{a.generation}).field("restarts", int64_t{a.restarts});
  w.field("last_error", a.last_error);
  w.key("mailbox").begin_object().field("depth", static_cast<int64_t>(a.mailbox_depth));
  w.field("age_ms", to_ms(a.mailbox_age)).end_object();
  w.field("last_step_age_ms", to_ms(a.last_step_age));
  if (!a.model.empty())
    w.field("model", a.model).field("group", int64_t{a.group}).field("rank", int64_t{a.rank});
  if (!a.describe.empty()) w.field("describe", a.describe);
  w.end_object();
}

}  // namespace

std::string status_json(const std::string& cluster, const std::vector<NodeTree>& nodes) {
  std::string out;
  JsonWriter w(out);
  w.begin_object().field("cluster", cluster).field("term", int64_t{0}).field("leader", "");
  w.key("nodes").begin_array();
  for (const NodeTree& node : nodes) {
    w.begin_object().field("name", node.name);
    w.field("incarnation", fmt::format("{:016x}", node.incarnation.value))
        .field("state", node.state);
    if (!node.reason.empty()) w.field("reason", node.reason);
    if (node.config_differs) w.key("config_differs").boolean(true);
    w.key("actors").begin_array();
    for (const ActorStatus& a : node.actors) write_actor(w, a);
    w.end_array().end_object();
  }
  w.end_array().end_object();
  return out;
}

std::string actor_json(const NodeTree& node, std::string_view id) {
  std::string out;
  for (const ActorStatus& actor : node.actors) {
    if (actor.id != id) continue;
    JsonWriter w(out);
    write_actor(w, actor);
    break;
  }
  return out;
}

}  // namespace troupe
