// In this program a broken invariant is an exception, so that rapidcheck can go on and shrink what
// led there. Stands in for config/check.cpp, which aborts.
#include <stdexcept>

#include "config/check.h"

void troupe::detail::check_failed(const char* file, int line, const char* condition,
                                  const std::string& values) {
  throw std::logic_error(std::string(file) + ":" + std::to_string(line) + ": broken invariant: " +
                         condition + (values.empty() ? "" : " with") + values);
}
