#include "net/chat_input.h"

#include <fmt/format.h>

#include "config/limits.h"

namespace troupe {

namespace dom = simdjson::dom;

namespace {

TemplateValue text_value(std::string text) {
  TemplateValue value;
  value.kind = TemplateValue::Kind::string;
  value.string = std::move(text);
  return value;
}

TemplateValue object_value() {
  TemplateValue value;
  value.kind = TemplateValue::Kind::object;
  return value;
}

TemplateValue array_value() {
  TemplateValue value;
  value.kind = TemplateValue::Kind::array;
  return value;
}

/// A string, or the text parts of an array joined by line feeds.
std::optional<std::string> read_content(JsonFields& message) {
  const auto content = message.find("content");
  if (!content) return std::nullopt;
  std::string_view text;
  if (!content->get(text)) return std::string(text);
  dom::array parts;
  if (content->get(parts)) {
    message.wrong("content", fmt::format("`{}` must be a string or an array of text parts, not {}.",
                                         message.param("content"), json_kind(*content)));
    return std::nullopt;
  }
  std::string joined;
  size_t index = 0;
  for (dom::element part : parts) {
    const std::string name = fmt::format("content[{}]", index);
    dom::object object;
    if (part.get(object)) {
      message.wrong(name, fmt::format("`{}` must be an object, not {}.", message.param(name),
                                      json_kind(part)));
      return std::nullopt;
    }
    JsonFields fields(object, message.param(name) + ".");
    const auto type = fields.string("type");
    const auto piece = type == "text" ? fields.string("text") : std::nullopt;
    if (!fields.error() && type != "text")
      fields.wrong("type",
                   fmt::format("`{}` must be \"text\": this server takes no other kind of content.",
                               fields.param("type")),
                   ErrorCode::unsupported);
    if (!fields.error() && !piece)
      fields.wrong("text", fmt::format("`{}` is missing.", fields.param("text")));
    message.adopt(fields.error());
    if (message.error()) return std::nullopt;
    if (index++ > 0) joined += '\n';
    joined += *piece;
  }
  return joined;
}

/// Templates print the arguments of a call as JSON, OpenAI clients send them as a string of JSON.
TemplateValue read_tool_calls(dom::element calls) {
  TemplateValue value = template_value(calls);
  for (TemplateValue& call : value.array)
    for (TemplateMember& member : call.object) {
      if (member.name != "function") continue;
      for (TemplateMember& part : member.value.object) {
        if (part.name != "arguments" || part.value.kind != TemplateValue::Kind::string) continue;
        auto parsed = JsonBody::parse(part.value.string);
        if (parsed && parsed->root().is_object()) part.value = template_value(parsed->root());
      }
    }
  return value;
}

TemplateValue read_message(dom::element element, size_t index, JsonFields& request) {
  const std::string name = fmt::format("messages[{}]", index);
  TemplateValue out = object_value();
  dom::object object;
  if (element.get(object)) {
    request.wrong(name, fmt::format("`{}` must be an object, not {}.", name, json_kind(element)));
    return out;
  }
  JsonFields message(object, name + ".");
  const auto role = message.string("role");
  if (!role)
    message.wrong("role", fmt::format("`{}` is missing: use system, user, assistant or tool.",
                                      message.param("role")));
  else if (role != "system" && role != "developer" && role != "user" && role != "assistant" &&
           role != "tool")
    message.wrong("role", fmt::format("`{}` must be system, developer, user, assistant or tool.",
                                      message.param("role")));
  auto content = read_content(message);
  const auto calls = message.array("tool_calls");
  if (!content && !message.error() && !(role == "assistant" && calls))
    message.wrong("content", fmt::format("`{}` is missing.", message.param("content")));
  if (message.error()) {
    request.adopt(message.error());
    return out;
  }
  TemplateValue body;
  body.kind = TemplateValue::Kind::none;
  if (content) body = text_value(std::move(*content));
  // Few templates know OpenAI's newer name of the system role.
  out.object.push_back({"role", text_value(std::string(role == "developer" ? "system" : *role))});
  out.object.push_back({"content", std::move(body)});
  for (const char* optional : {"name", "tool_call_id", "reasoning_content"})
    if (const auto text = message.string(optional))
      out.object.push_back({optional, text_value(std::string(*text))});
  if (calls) out.object.push_back({"tool_calls", read_tool_calls(*message.find("tool_calls"))});
  request.adopt(message.error());
  return out;
}

void read_tools(JsonFields& fields, ChatInput& input) {
  const auto tools = fields.array("tools");
  bool wanted = tools && tools->size() > 0;
  if (const auto choice = fields.find("tool_choice")) {
    std::string_view word;
    if (choice->get(word) || (word != "auto" && word != "none"))
      fields.wrong("tool_choice",
                   "`tool_choice` must be \"auto\" or \"none\": this server cannot force a call.",
                   ErrorCode::unsupported);
    if (word == "none") wanted = false;
  }
  if (!tools) return;
  size_t index = 0;
  for (dom::element tool : *tools) {
    dom::object object;
    if (tool.get(object))
      fields.wrong(fmt::format("tools[{}]", index),
                   fmt::format("`tools[{}]` must be an object, not {}.", index, json_kind(tool)));
    ++index;
  }
  if (wanted) input.tools = template_value(*fields.find("tools"));
}

}  // namespace

TemplateValue template_value(dom::element element) {
  TemplateValue value;
  switch (element.type()) {
    case dom::element_type::NULL_VALUE:
      value.kind = TemplateValue::Kind::none;
      break;
    case dom::element_type::BOOL:
      value.kind = TemplateValue::Kind::boolean;
      value.boolean = element.get_bool().value_unsafe();
      break;
    case dom::element_type::INT64:
      value.kind = TemplateValue::Kind::integer;
      value.integer = element.get_int64().value_unsafe();
      break;
    case dom::element_type::UINT64:
    case dom::element_type::DOUBLE:
      value.kind = TemplateValue::Kind::real;
      value.real = element.get_double().value_unsafe();
      break;
    case dom::element_type::STRING:
      return text_value(std::string(element.get_string().value_unsafe()));
    case dom::element_type::ARRAY: {
      value = array_value();
      // A copy first: value_unsafe() of a temporary is a reference into it, gone before the loop
      // runs.
      const dom::array items = element.get_array().value_unsafe();
      for (dom::element item : items) value.array.push_back(template_value(item));
      break;
    }
    case dom::element_type::OBJECT: {
      value = object_value();
      const dom::object members = element.get_object().value_unsafe();
      for (dom::key_value_pair pair : members)
        value.object.push_back({std::string(pair.key), template_value(pair.value)});
      break;
    }
  }
  return value;
}

ChatInput single_user_message(std::string text) {
  ChatInput input;
  TemplateValue message = object_value();
  message.object.push_back({"role", text_value("user")});
  message.object.push_back({"content", text_value(std::move(text))});
  input.messages = array_value();
  input.messages.array.push_back(std::move(message));
  return input;
}

ChatInput read_chat_input(JsonFields& fields) {
  ChatInput input;
  input.messages = array_value();
  const auto messages = fields.array("messages");
  if (!messages) {
    fields.wrong("messages", "`messages` is missing: send an array of messages.");
  } else if (messages->size() == 0) {
    fields.wrong("messages", "`messages` is empty: send at least one message.");
  } else if (messages->size() > kMessagesMax) {
    fields.wrong("messages",
                 fmt::format("`messages` has more than {} entries: shorten the conversation.",
                             kMessagesMax));
  } else {
    size_t index = 0;
    for (dom::element message : *messages) {
      input.messages.array.push_back(read_message(message, index++, fields));
      if (fields.error()) break;
    }
  }
  read_tools(fields, input);
  if (const auto extra = fields.object("chat_template_kwargs"))
    for (dom::key_value_pair pair : *extra)
      input.extra.push_back({std::string(pair.key), template_value(pair.value)});
  input.add_generation_prompt = fields.boolean("add_generation_prompt").value_or(true);
  return input;
}

}  // namespace troupe
