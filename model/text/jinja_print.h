// How values become text: Python's str() and repr(), and json.dumps() as Hugging Face's tojson
// filter calls it.
#pragma once

#include <optional>
#include <string>

#include "model/text/jinja_meter.h"
#include "model/text/jinja_value.h"

namespace troupe::jinja {

std::string format_real(double value);  ///< Python's repr(float)
void append_str(Meter& meter, std::string& out, const Value& value);
void append_repr(Meter& meter, std::string& out, const Value& value);
std::string to_str(Meter& meter, const Value& value);

/// The arguments of json.dumps that templates use.
struct JsonStyle {
  enum class Characters : uint8_t { utf8, ascii };
  enum class Keys : uint8_t { as_inserted, sorted };
  Characters characters = Characters::utf8;
  Keys keys = Keys::as_inserted;
  std::optional<std::string> indent;  ///< of one level; none: all on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

/// Gives up on what JSON has no word for (undefined, generators, macros, ...).
std::string to_json(Meter& meter, const Value& value, const JsonStyle& style);

}  // namespace troupe::jinja
