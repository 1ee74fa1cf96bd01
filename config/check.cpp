#include "config/check.h"

#include <cstdio>
#include <cstdlib>

namespace troupe::detail {

void check_failed(const char* file, int line, const char* condition, const std::string& values) {
  std::fprintf(stderr, "%s:%d: broken invariant: %s%s%s\n", file, line, condition,
               values.empty() ? "" : " with", values.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace troupe::detail
