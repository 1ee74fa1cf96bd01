#include "net/json_fields.h"

#include <fmt/format.h>

#include "config/limits.h"

namespace troupe {

namespace dom = simdjson::dom;

Result<JsonBody> JsonBody::parse(std::string_view text) {
  JsonBody body;
  if (text.empty())
    return fail(ErrorCode::invalid_argument, "The request body is empty: send a JSON object.");
  body.parser_ = std::make_unique<dom::parser>();
  simdjson::error_code error = body.parser_->allocate(text.size(), kJsonDepthMax);
  if (!error) error = body.parser_->parse(text.data(), text.size()).get(body.root_);
  switch (error) {
    case simdjson::SUCCESS:
      return body;
    case simdjson::UTF8_ERROR:
      return fail(ErrorCode::invalid_argument,
                  "The request body is not valid UTF-8: encode it as UTF-8.");
    case simdjson::DEPTH_ERROR:
      return fail(
          ErrorCode::invalid_argument,
          fmt::format("The JSON of the request body is nested deeper than {} levels: flatten it.",
                      kJsonDepthMax));
    default:
      return fail(ErrorCode::invalid_argument, fmt::format("The request body is not valid JSON: {}",
                                                           simdjson::error_message(error)));
  }
}

Result<dom::object> JsonBody::object() const {
  dom::object object;
  if (root_.get(object))
    return fail(ErrorCode::invalid_argument,
                fmt::format("The request body is {}, not a JSON object: send an object.",
                            json_kind(root_)));
  return object;
}

std::string_view json_kind(dom::element element) {
  switch (element.type()) {
    case dom::element_type::ARRAY:
      return "an array";
    case dom::element_type::OBJECT:
      return "an object";
    case dom::element_type::INT64:
    case dom::element_type::UINT64:
    case dom::element_type::DOUBLE:
      return "a number";
    case dom::element_type::STRING:
      return "a string";
    case dom::element_type::BOOL:
      return "a boolean";
    case dom::element_type::NULL_VALUE:
      return "null";
  }
  return "something else";
}

std::optional<dom::element> JsonFields::find(std::string_view name) const {
  dom::element element;
  if (object_.at_key(name).get(element) || element.is_null()) return std::nullopt;
  return element;
}

void JsonFields::wrong(std::string_view name, std::string message, ErrorCode code) {
  if (!error_) error_ = Error{code, std::move(message), param(name)};
}

void JsonFields::adopt(const std::optional<Error>& error) {
  if (!error_) error_ = error;
}

void JsonFields::wrong_type(std::string_view name, std::string_view wanted) {
  wrong(name, fmt::format("`{}` must be {}, not {}.", param(name), wanted, json_kind(*find(name))));
}

std::optional<bool> JsonFields::boolean(std::string_view name) {
  const auto element = find(name);
  bool value = false;
  if (!element) return std::nullopt;
  if (!element->get(value)) return value;
  wrong_type(name, "true or false");
  return std::nullopt;
}

std::optional<int64_t> JsonFields::integer(std::string_view name, int64_t min, int64_t max) {
  const auto element = find(name);
  if (!element) return std::nullopt;
  int64_t value = 0;
  if (!element->get(value) && value >= min && value <= max) return value;
  if (element->is_number() && (element->is_int64() || element->is_uint64()))
    wrong(name, fmt::format("`{}` must be between {} and {}.", param(name), min, max));
  else
    wrong_type(name, element->is_double() ? "a whole number" : "an integer");
  return std::nullopt;
}

std::optional<double> JsonFields::number(std::string_view name, double min, double max) {
  const auto element = find(name);
  if (!element) return std::nullopt;
  double value = 0;
  if (element->is_number() && !element->get(value)) {
    if (value >= min && value <= max) return value;
    wrong(name, fmt::format("`{}` must be between {} and {}.", param(name), min, max));
  } else {
    wrong_type(name, "a number");
  }
  return std::nullopt;
}

std::optional<std::string_view> JsonFields::string(std::string_view name) {
  const auto element = find(name);
  std::string_view value;
  if (!element) return std::nullopt;
  if (!element->get(value)) return value;
  wrong_type(name, "a string");
  return std::nullopt;
}

std::optional<dom::array> JsonFields::array(std::string_view name) {
  const auto element = find(name);
  dom::array value;
  if (!element) return std::nullopt;
  if (!element->get(value)) return value;
  wrong_type(name, "an array");
  return std::nullopt;
}

std::optional<dom::object> JsonFields::object(std::string_view name) {
  const auto element = find(name);
  dom::object value;
  if (!element) return std::nullopt;
  if (!element->get(value)) return value;
  wrong_type(name, "an object");
  return std::nullopt;
}

}  // namespace troupe
