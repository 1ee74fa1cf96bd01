#include "model/text/json_value.h"

#include <simdjson.h>

#include <charconv>
#include <cstdlib>
#include <string>
#include <unordered_map>

#include "config/limits.h"

namespace troupe {

namespace {

namespace ondemand = simdjson::ondemand;

struct TooDeep {};  // caught in template_value_from_json()

void enter(int depth) {
  if (depth >= kJsonDepthMax) throw TooDeep{};
}

TemplateValue number(std::string_view token) {
  token = token.substr(0, token.find_first_of(" \t\r\n,]}"));
  TemplateValue value;
  if (token.find_first_of(".eE") != std::string_view::npos) {
    value.kind = TemplateValue::Kind::real;
    // Too big for a double is infinity, as in Python.
    value.real = std::strtod(std::string(token).c_str(), nullptr);
    return value;
  }
  value.kind = TemplateValue::Kind::integer;
  const auto parsed = std::from_chars(token.data(), token.data() + token.size(), value.integer);
  if (parsed.ec == std::errc::result_out_of_range) value.string = std::string(token);
  return value;
}

TemplateValue convert(ondemand::value json, int depth);

TemplateValue convert_object(ondemand::object object, int depth) {
  TemplateValue value;
  value.kind = TemplateValue::Kind::object;
  std::unordered_map<std::string, size_t> places;
  for (auto field : object) {
    std::string name(static_cast<std::string_view>(field.unescaped_key()));
    TemplateValue item = convert(field.value(), depth);
    const auto [place, added] = places.emplace(name, value.object.size());
    if (added) {
      value.object.push_back({std::move(name), std::move(item)});
    } else {
      value.object[place->second].value = std::move(item);
    }
  }
  return value;
}

// `depth`: how many objects and arrays are around it.
TemplateValue convert(ondemand::value json, int depth) {
  switch (json.type()) {
    case ondemand::json_type::object:
      enter(depth);
      return convert_object(json.get_object(), depth + 1);
    case ondemand::json_type::array: {
      enter(depth);
      std::vector<TemplateValue> items;
      for (auto item : json.get_array()) items.push_back(convert(item.value(), depth + 1));
      return TemplateValue::list(std::move(items));
    }
    case ondemand::json_type::string:
      return TemplateValue::of(std::string(static_cast<std::string_view>(json.get_string())));
    case ondemand::json_type::boolean:
      return TemplateValue::of(static_cast<bool>(json.get_bool()));
    case ondemand::json_type::null: {
      if (!json.is_null()) throw simdjson::simdjson_error(simdjson::N_ATOM_ERROR);
      TemplateValue value;
      value.kind = TemplateValue::Kind::none;
      return value;
    }
    default: {
      static_cast<void>(static_cast<double>(json.get_double()));  // checks the number's form
      return number(json.raw_json_token());
    }
  }
}

bool at_end(ondemand::document& document) {
  return document.current_location().error() == simdjson::OUT_OF_BOUNDS;
}

}  // namespace

Result<TemplateValue> template_value_from_json(std::string_view json) {
  // simdjson treats a lone scalar apart from lists; as the one item of a list every value takes the
  // same road.
  const simdjson::padded_string list("[" + std::string(json) + "]");
  try {
    ondemand::parser parser;
    ondemand::document document = parser.iterate(list);
    std::vector<TemplateValue> items;
    for (auto item : document.get_array()) items.push_back(convert(item.value(), 0));
    if (items.size() == 1 && at_end(document)) return std::move(items.front());
    return fail(ErrorCode::invalid_argument, "expected one JSON value; check for text around it");
  } catch (const TooDeep&) {
    return fail(ErrorCode::too_large, "JSON is nested more than " + std::to_string(kJsonDepthMax) +
                                          " deep; send it flatter");
  } catch (const simdjson::simdjson_error& error) {
    return fail(ErrorCode::invalid_argument, std::string("not valid JSON (") + error.what() +
                                                 "); check its quotes, commas and brackets");
  }
}

}  // namespace troupe
