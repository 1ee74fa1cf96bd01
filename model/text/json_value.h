// JSON to what a chat template sees: messages and tools of a request, or arguments inside a
// template.
#pragma once

#include <string_view>

#include "config/result.h"
#include "model/chat_template.h"

namespace troupe {

/// As Python's json.loads: integers and floats stay apart, a repeated key keeps its first place and
/// its last value. invalid_argument when it is not JSON or not UTF-8; too_large when nested deeper
/// than kJsonDepthMax.
Result<TemplateValue> template_value_from_json(std::string_view json);

namespace jinja {
class Meter;
class Value;
/// Gives up (throws Failure) beyond kTemplateDepthMax.
Value from_template_value(Meter& meter, const TemplateValue& value);
}  // namespace jinja

}  // namespace troupe
