#include "net/client_json.h"

#include <simdjson.h>

#include "net/json_writer.h"

namespace troupe {

namespace {

namespace dom = simdjson::dom;

std::string text_at(dom::element e, const char* key) {
  std::string_view value;
  if (e[key].get(value)) return {};
  return std::string(value);
}
int64_t integer_of(dom::element e, const char* key) {
  int64_t value = 0;
  if (e[key].get(value)) return 0;
  return value;
}

Result<dom::element> parse(dom::parser& parser, std::string_view json, const char* what) {
  dom::element root;
  if (parser.parse(json.data(), json.size()).get(root))
    return fail(ErrorCode::data_loss, std::string(what) + " is no JSON; is that a Troupe server?");
  return root;
}

Role role_of(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(Role::client); ++i)
    if (name_of(static_cast<Role>(i)) == name) return static_cast<Role>(i);
  return Role::client;
}

ActorStatus read_actor(dom::element a) {
  ActorStatus row;
  row.id = text_at(a, "id");
  row.role = role_of(text_at(a, "role"));
  row.pid = integer_of(a, "pid");
  row.state = text_at(a, "state");
  row.reason = text_at(a, "reason");
  row.generation = static_cast<uint32_t>(integer_of(a, "generation"));
  row.restarts = static_cast<uint32_t>(integer_of(a, "restarts"));
  row.last_error = text_at(a, "last_error");
  dom::element mailbox;
  if (!a["mailbox"].get(mailbox)) {
    row.mailbox_depth = static_cast<uint64_t>(integer_of(mailbox, "depth"));
    row.mailbox_age = std::chrono::milliseconds(integer_of(mailbox, "age_ms"));
  }
  row.last_step_age = std::chrono::milliseconds(integer_of(a, "last_step_age_ms"));
  row.model = text_at(a, "model");
  row.describe = text_at(a, "describe");
  return row;
}

}  // namespace

Result<Endpoint> parse_endpoint(std::string_view json) {
  dom::parser parser;
  auto root = parse(parser, json, "endpoint.json");
  if (!root) return std::unexpected(root.error());
  Endpoint out{integer_of(*root, "pid"), text_at(*root, "cluster"),    text_at(*root, "node"),
               text_at(*root, "admin"),  text_at(*root, "token_path"), {}};
  dom::array http;
  if (!(*root)["http"].get(http))
    for (dom::element address : http)
      if (std::string_view text; !address.get(text)) out.http.emplace_back(text);
  return out;
}

Result<ClusterTree> parse_status(std::string_view json) {
  dom::parser parser;
  auto root = parse(parser, json, "the answer of /admin/tree");
  if (!root) return std::unexpected(root.error());
  ClusterTree out{
      text_at(*root, "cluster"), text_at(*root, "leader"), integer_of(*root, "term"), {}};
  dom::array nodes;
  if ((*root)["nodes"].get(nodes))
    return fail(ErrorCode::data_loss, "the answer of /admin/tree has no nodes");
  for (dom::element n : nodes) {
    NodeTree& node = out.nodes.emplace_back();
    node.name = text_at(n, "name");
    node.state = text_at(n, "state");
    node.reason = text_at(n, "reason");
    if (bool differs = false; !n["config_differs"].get(differs)) node.config_differs = differs;
    node.incarnation = Incarnation(std::strtoull(text_at(n, "incarnation").c_str(), nullptr, 16));
    dom::array actors;
    if (!n["actors"].get(actors))
      for (dom::element a : actors) node.actors.push_back(read_actor(a));
  }
  return out;
}

Result<std::vector<std::string>> parse_models(std::string_view json) {
  dom::parser parser;
  auto root = parse(parser, json, "the answer of /v1/models");
  if (!root) return std::unexpected(root.error());
  std::vector<std::string> names;
  dom::array data;
  if (!(*root)["data"].get(data))
    for (dom::element model : data) names.push_back(text_at(model, "id"));
  return names;
}

std::string chat_request(std::string_view model, const std::vector<ChatTurn>& turns,
                         int32_t max_tokens, double temperature) {
  std::string out;
  JsonWriter w(out);
  w.begin_object().field("model", model).key("messages").begin_array();
  for (const ChatTurn& turn : turns)
    w.begin_object().field("role", turn.role).field("content", turn.content).end_object();
  w.end_array()
      .key("stream")
      .boolean(true)
      .field("max_tokens", int64_t{max_tokens})
      .key("temperature")
      .real(temperature)
      .end_object();
  return out;
}

Result<ChatDelta> parse_chat_delta(std::string_view data) {
  dom::parser parser;
  auto root = parse(parser, data, "an event of the stream");
  if (!root) return std::unexpected(root.error());
  ChatDelta out;
  dom::element error, choice;
  if (!(*root)["error"].get(error)) {
    out.error = text_at(error, "message");
    return out;
  }
  if (!(*root)["choices"].at(0).get(choice)) {
    out.finish_reason = text_at(choice, "finish_reason");
    if (dom::element delta; !choice["delta"].get(delta)) out.content = text_at(delta, "content");
  }
  return out;
}

std::string error_sentence(std::string_view body) {
  dom::parser parser;
  dom::element root, error;
  if (parser.parse(body.data(), body.size()).get(root) || root["error"].get(error))
    return std::string(body);
  return text_at(error, "message");
}

}  // namespace troupe
