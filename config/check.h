// TROUPE_CHECK: a broken invariant prints what was expected and the values, then aborts. On in
// release too: a process that no longer knows what is true must not go on; its supervisor starts a
// new one.
#pragma once

#include <sstream>
#include <string>

namespace troupe::detail {

[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               const std::string& values);

template <class... Values>
std::string print_values(const Values&... values) {
  std::ostringstream out;
  ((out << ' ' << values), ...);
  return out.str();
}

}  // namespace troupe::detail

/// TROUPE_CHECK(a < b, a, b): the extra arguments are printed; they need operator<<.
#define TROUPE_CHECK(condition, ...)                                               \
  do {                                                                             \
    if (!(condition)) [[unlikely]]                                                 \
      ::troupe::detail::check_failed(__FILE__, __LINE__, #condition,               \
                                     ::troupe::detail::print_values(__VA_ARGS__)); \
  } while (false)
