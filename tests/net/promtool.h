// Metrics as Prometheus' own tool judges them.
#pragma once

#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

namespace troupe::testing {

/// promtool has nothing to say about the text. Where it is not installed that is said.
inline void check_with_promtool(const std::string& text) {
  if (std::system("command -v promtool > /dev/null") != 0) {
    MESSAGE("promtool is not installed (Debian package prometheus): its check did not run");
    return;
  }
  const std::string file = std::string(TROUPE_BINARY_DIR) + "/net_test_metrics.txt";
  std::ofstream(file) << text;
  FILE* promtool = ::popen(("promtool check metrics < " + file + " 2>&1").c_str(), "r");
  REQUIRE(promtool != nullptr);
  std::string said;
  for (char bytes[512]; std::fgets(bytes, sizeof bytes, promtool) != nullptr;) said += bytes;
  CHECK(::pclose(promtool) == 0);
  CHECK(said == "");
}

}  // namespace troupe::testing
