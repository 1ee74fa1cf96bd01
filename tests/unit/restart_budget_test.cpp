#include "cluster/restart_budget.h"

#include <doctest/doctest.h>

namespace troupe::restart_budget_test {

TEST_CASE("restart budget: five deaths in 300 s are forgiven, the sixth is not") {
  RestartBudget budget;
  for (int death = 1; death <= 5; ++death) CHECK(budget.died(Time(299s * death / 5)));
  CHECK_FALSE(budget.died(Time(299s + 1ns)));
}

TEST_CASE("restart budget: a death counts for 300 s and no longer") {
  RestartBudget budget;
  for (int death = 0; death < 5; ++death) CHECK(budget.died(Time(10s * death)));
  CHECK_FALSE(budget.died(Time(300s - 1ns)));
  CHECK(budget.died(Time(300s)));
  CHECK_FALSE(budget.died(Time(310s - 1ns)));
  CHECK(budget.died(Time(310s)));
}

}  // namespace troupe::restart_budget_test
