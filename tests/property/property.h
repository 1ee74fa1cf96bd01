// A property as a doctest assertion, and what tests say when it does not hold.
#pragma once

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cstdlib>
#include <sstream>
#include <stdexcept>
#include <string>

namespace troupe::test {

inline uint64_t property_setting(const char* name, uint64_t otherwise) {
  const char* given = std::getenv(name);
  return given ? std::strtoull(given, nullptr, 10) : otherwise;
}

/// `testable` holds for `runs` random arguments; it fails by any exception.
template <class Testable>
void holds(int runs, Testable&& testable) {
  rc::detail::TestParams params;
  params.seed = property_setting("TROUPE_PROPERTY_SEED", 1);
  // rapidcheck prints a configuration of its own at first use: let it be this one.
  setenv("RC_PARAMS", ("seed=" + std::to_string(params.seed)).c_str(), 1);
  params.maxSuccess = runs * static_cast<int>(property_setting("TROUPE_PROPERTY_RUNS", 1));
  const auto result = rc::detail::checkTestable(std::forward<Testable>(testable),
                                                rc::detail::TestMetadata{}, params);
  if (result.template is<rc::detail::SuccessResult>()) return;
  std::ostringstream text;
  rc::detail::printResultMessage(result, text);
  FAIL("TROUPE_PROPERTY_SEED=" << params.seed << ": " << text.str());
}

/// Ends the program at hand: it broke this rule.
[[noreturn]] inline void broken(const std::string& rule) { throw std::runtime_error(rule); }
inline void must(bool holds, const std::string& rule) {
  if (!holds) broken(rule);
}

}  // namespace troupe::test
