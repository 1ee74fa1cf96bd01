// Reads typed fields out of a JSON object of a request. The first field that is wrong is remembered
// with a sentence and its name; later reads go on and give defaults, so a caller reads all it wants
// and looks once. null counts as absent. Values of strings are never repeated in messages: they may
// be prompts.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "config/result.h"

namespace troupe {

/// A parsed body. Strict JSON, strict UTF-8, depth <= kJsonDepthMax.
class JsonBody {
 public:
  static Result<JsonBody> parse(std::string_view text);
  simdjson::dom::element root() const { return root_; }
  /// The body as an object; invalid_argument otherwise.
  Result<simdjson::dom::object> object() const;

 private:
  std::unique_ptr<simdjson::dom::parser> parser_;
  simdjson::dom::element root_;
};

class JsonFields {
 public:
  /// `path` is put before names in errors: "stream_options." or "messages[2].".
  explicit JsonFields(simdjson::dom::object object, std::string path = {})
      : object_(object), path_(std::move(path)) {}

  /// Absent and null give nullopt.
  std::optional<simdjson::dom::element> find(std::string_view name) const;

  std::optional<bool> boolean(std::string_view name);
  std::optional<int64_t> integer(std::string_view name, int64_t min, int64_t max);
  std::optional<double> number(std::string_view name, double min, double max);
  std::optional<std::string_view> string(std::string_view name);
  std::optional<simdjson::dom::array> array(std::string_view name);
  std::optional<simdjson::dom::object> object(std::string_view name);

  /// Remembers the first problem. `message` is the whole sentence.
  void wrong(std::string_view name, std::string message,
             ErrorCode code = ErrorCode::invalid_argument);
  void adopt(const std::optional<Error>& error);
  const std::optional<Error>& error() const { return error_; }
  std::string param(std::string_view name) const { return path_ + std::string(name); }

 private:
  void wrong_type(std::string_view name, std::string_view wanted);

  simdjson::dom::object object_;
  std::string path_;
  std::optional<Error> error_;
};

/// "a number", "a string", ... for messages.
std::string_view json_kind(simdjson::dom::element element);

}  // namespace troupe
