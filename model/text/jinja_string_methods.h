// Methods of str, by name.
#pragma once

#include <string_view>

#include "model/text/jinja_library.h"

namespace troupe::jinja {

struct StringMethod {
  std::string_view name;
  Value (*call)(Meter& meter, const Value& receiver, const Arguments& given);
};

const StringMethod* find_string_method(std::string_view name);  ///< null if there is none

}  // namespace troupe::jinja
