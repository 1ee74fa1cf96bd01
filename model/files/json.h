// JSON of model files, by simdjson with bounds on size and depth. An element views the document it
// came from.
#pragma once

#include <simdjson.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "config/result.h"

namespace troupe {

using JsonElement = simdjson::dom::element;

class JsonDocument {
 public:
  /// data_loss with the parser's reason and `name` (the file) in the sentence; too_large beyond
  /// kJsonFileBytesMax.
  static Result<JsonDocument> parse(std::string_view text, const std::string& name);
  JsonElement root() const { return root_; }

 private:
  JsonDocument() = default;
  std::unique_ptr<simdjson::dom::parser> parser_;
  JsonElement root_;
};

/// The member, or nullopt if `object` is no object, has no such member or it is null.
std::optional<JsonElement> json_member(JsonElement object, std::string_view key);

/// The member as T (bool, int64_t, double, std::string_view, dom::array, dom::object), or nullopt.
template <class T>
std::optional<T> json_get(JsonElement object, std::string_view key) {
  const auto member = json_member(object, key);
  T value;
  if (!member || member->get(value) != simdjson::SUCCESS) return std::nullopt;
  return value;
}

/// The text of a member, empty if there is none.
std::string_view json_text(JsonElement object, std::string_view key);

}  // namespace troupe
