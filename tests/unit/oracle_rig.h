// An oracle partition and a driver that feeds it plans made by hand.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "model/oracle/oracle_partition.h"
#include "tests/support/message_of.h"
#include "tests/support/step_driver.h"

namespace troupe::test {

using Tokens = std::vector<int32_t>;

inline const Budget kOracleBudget{
    .threads = 1, .kv_blocks = 64, .max_rows = 512, .max_slots = 16, .context = 800};

struct Oracle {
  OraclePartition partition;
  StepDriver driver{partition};
  explicit Oracle(OracleOptions options = {}) : partition(options) {
    REQUIRE(
        partition.load(OracleWeights(), oracle_spec(), {.ranks = {RankPlan{}}}, 0, kOracleBudget));
  }
  Tokens sample(const std::vector<Piece>& pieces) {
    for (const Piece& piece : pieces) driver.add(piece);
    const auto output = driver.run();
    REQUIRE_MESSAGE(output.has_value(), message_of(output));
    return output->tokens;
  }
  /// Why the driver's plan is refused.
  std::string refusal() {
    const auto output = driver.run();
    REQUIRE(!output.has_value());
    CHECK(output.error().code == ErrorCode::internal);
    return output.error().message;
  }
};

inline bool says(const std::string& message, const char* what) {
  INFO(message);
  return message.find(what) != std::string::npos;
}

}  // namespace troupe::test
