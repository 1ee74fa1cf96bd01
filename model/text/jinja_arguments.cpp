#include <algorithm>

#include "model/text/jinja_failure.h"
#include "model/text/jinja_library.h"

namespace troupe::jinja {

void bind_arguments(std::string_view callee, const Arguments& arguments,
                    const std::string_view* names, const Value** bound, size_t count) {
  if (arguments.positional.size() > count) {
    give_up(std::string(callee) + " takes not more than " + std::to_string(count) + " arguments");
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) bound[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto* found = std::find(names, names + count, name);
    if (found == names + count) {
      give_up(std::string(callee) + " takes no argument '" + name + "'");
    }
    const Value*& slot = bound[found - names];
    if (slot != nullptr) give_up(std::string(callee) + " got two values for '" + name + "'");
    slot = &value;
  }
}

}  // namespace troupe::jinja
