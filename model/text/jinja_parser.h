// Source to Program. Throws Failure: invalid_argument for what Jinja2 would not read either,
// unsupported for what it would (tags, filters, tests and methods this subset has not), too_large
// beyond the bounds of config/limits.h.
#pragma once

#include <string_view>

#include "model/text/jinja_ast.h"

namespace troupe::jinja {

Program parse_template(std::string_view source);

}  // namespace troupe::jinja
