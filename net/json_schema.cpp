#include "net/json_schema.h"

#include <fmt/format.h>

#include "net/json_writer.h"

namespace troupe::schema {
namespace {

std::string object(const std::vector<Field>& required, const std::vector<Field>& optional,
                   std::string_view others) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().field("type", "object").key("properties").begin_object();
  for (const Field& field : required) json.key(field.name).raw(field.schema);
  for (const Field& field : optional) json.key(field.name).raw(field.schema);
  json.end_object();
  if (!required.empty()) {
    json.key("required").begin_array();
    for (const Field& field : required) json.string(field.name);
    json.end_array();
  }
  if (!others.empty()) json.key("additionalProperties").raw(others);
  json.end_object();
  return out;
}

}  // namespace

std::string anything() { return "{}"; }
std::string text() { return R"({"type":"string"})"; }
std::string words(std::vector<std::string_view> allowed) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().field("type", "string").key("enum").begin_array();
  for (std::string_view word : allowed) json.string(word);
  json.end_array().end_object();
  return out;
}
std::string text_of(size_t length_min, size_t length_max) {
  return fmt::format(R"({{"type":"string","minLength":{},"maxLength":{}}})", length_min,
                     length_max);
}
std::string boolean() { return R"({"type":"boolean"})"; }
std::string integer(int64_t min, int64_t max) {
  return fmt::format(R"({{"type":"integer","minimum":{},"maximum":{}}})", min, max);
}
std::string count() { return R"({"type":"integer","minimum":0})"; }
std::string number() { return R"({"type":"number"})"; }
std::string number(double min, double max) {
  return fmt::format(R"({{"type":"number","minimum":{},"maximum":{}}})", min, max);
}
std::string list(std::string_view items) {
  return fmt::format(R"({{"type":"array","items":{}}})", items);
}
std::string list(std::string_view items, size_t size_min, size_t size_max) {
  return fmt::format(R"({{"type":"array","items":{},"minItems":{},"maxItems":{}}})", items,
                     size_min, size_max);
}
std::string map(std::string_view values) { return object({}, {}, values); }
std::string null() { return R"({"type":"null"})"; }
std::string any_of(const std::vector<std::string>& schemas) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().key("anyOf").begin_array();
  for (const std::string& schema : schemas) json.raw(schema);
  json.end_array().end_object();
  return out;
}
std::string or_null(std::string_view schema) { return any_of({std::string(schema), null()}); }
std::string ref(std::string_view name) {
  return fmt::format(R"({{"$ref":"#/components/schemas/{}"}})", name);
}

std::string request(const std::vector<Field>& required, const std::vector<Field>& optional) {
  std::vector<Field> nullable;
  for (const Field& field : optional) nullable.push_back({field.name, or_null(field.schema)});
  return object(required, nullable, {});
}
std::string answer(const std::vector<Field>& required, const std::vector<Field>& optional) {
  return object(required, optional, "false");
}

}  // namespace troupe::schema
