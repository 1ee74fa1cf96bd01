// A lane of the oracle that runs each step where it is asked for; can be told to hang.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>

#include "actors/lane.h"
#include "model/oracle/oracle_partition.h"

namespace troupe::testing {

class InlineLane final : public Lane {
 public:
  InlineLane() {
    Budget budget;
    budget.kv_blocks = 64;
    budget.max_rows = 64;
    budget.max_slots = 8;
    budget.context = 512;
    capabilities =
        *partition_.load(OracleWeights(), oracle_spec(), whole_model(oracle_spec()), 0, budget);
  }
  void load(LoadOrder, std::function<void(HostPort)>,
            std::function<void(Result<LoadedModel>)>) override {
    FAIL("the batcher does not load");
  }
  void join(RankJoin) override { FAIL("the batcher does not join"); }
  void run(std::shared_ptr<const StepPlan> plan, Duration timeout,
           std::function<void(BatcherInput)> done) override {
    if (hang || steps_left-- <= 0) return;
    auto output = partition_.wait(partition_.submit(*plan), timeout);
    REQUIRE_MESSAGE(output.has_value(), (output ? std::string() : output.error().message));
    done(batcher_in::StepDone{std::make_shared<const StepOutput>(**output)});
  }
  void follow(Duration, std::function<void()>, std::function<void(Error)>) override {}
  void abort() noexcept override { aborted = true; }

  Capabilities capabilities;
  bool hang = false, aborted = false;
  int64_t steps_left = std::numeric_limits<int64_t>::max();  ///< then it hangs

 private:
  OraclePartition partition_;
};

}  // namespace troupe::testing
