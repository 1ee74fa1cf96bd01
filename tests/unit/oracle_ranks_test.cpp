// The oracle over several ranks: the same answers, and one end for all.
#include <memory>
#include <thread>
#include <vector>

#include "model/follower.h"
#include "tests/support/local_collective.h"
#include "tests/unit/oracle_rig.h"

using namespace troupe;
using namespace troupe::test;

namespace oracle_ranks_test {
namespace {

/// Ranks as threads; the test drives rank 0.
class OracleGroup {
 public:
  OracleGroup(int32_t tensor_parallel, int32_t pipeline_parallel, OracleOptions options = {})
      : group_(tensor_parallel * pipeline_parallel) {
    const PartitionPlan plan = oracle_plan(tensor_parallel, pipeline_parallel);
    Budget budget = kOracleBudget;
    budget.generation = 1;
    for (int r = 0; r < static_cast<int>(plan.ranks.size()); ++r) {
      links_.push_back(group_.rank(r));
      budget.host = links_.back().get();
      ranks_.push_back(std::make_unique<OraclePartition>(options));
      const auto loaded = ranks_.back()->load(OracleWeights(), oracle_spec(), plan, r, budget);
      REQUIRE_MESSAGE(loaded.has_value(), message_of(loaded));
      describe = loaded->describe;
    }
    errors_.resize(ranks_.size());
    for (size_t r = 1; r < ranks_.size(); ++r)
      threads_.emplace_back([this, r] { errors_[r] = follow_steps(*ranks_[r], 60s); });
    driver = std::make_unique<StepDriver>(*ranks_.front());
  }
  ~OracleGroup() {
    ranks_.front()->abort();
    join();
  }
  /// Why each of the other ranks ended.
  std::vector<Error> join() {
    for (std::thread& t : threads_) t.join();
    threads_.clear();
    return {errors_.begin() + 1, errors_.end()};
  }
  OraclePartition& rank(size_t r) { return *ranks_[r]; }
  Tokens run(const Piece& piece) {
    const auto output = driver->add(piece).run();
    REQUIRE_MESSAGE(output.has_value(), message_of(output));
    return output->tokens;
  }

  std::unique_ptr<StepDriver> driver;
  std::string describe;  ///< of the last rank

 private:
  testing::LocalGroup group_;
  std::vector<std::unique_ptr<Collective>> links_;
  std::vector<std::unique_ptr<OraclePartition>> ranks_;
  std::vector<std::thread> threads_;
  std::vector<Error> errors_;
};

}  // namespace

TEST_CASE("oracle ranks: every layout gives the answer of one rank, tokens by reference included") {
  const Tokens prompt{5, 7, 4095};
  const Tokens expected = oracle_continue_past_end(kOracleSeed, prompt, 6);
  for (const auto& [tensor, pipeline] :
       {std::pair{1, 1}, {2, 1}, {3, 1}, {1, 2}, {1, 3}, {2, 2}, {3, 2}}) {
    CAPTURE(tensor);
    CAPTURE(pipeline);
    OracleGroup group(tensor, pipeline);
    group.driver->open({.slot = 0});
    Tokens answer = group.run({0, 0, prompt, {0}});
    while (answer.size() < expected.size()) {
      const auto position = static_cast<int32_t>(prompt.size() + answer.size()) - 1;
      // -1: what slice 0 of the step before drew.
      answer.push_back(group.run({0, position, {-1}, {0}}).at(0));
    }
    CHECK(answer == expected);
    if (tensor * pipeline > 1)
      CHECK(group.describe.find("rank " + std::to_string(tensor * pipeline - 1) + " of " +
                                std::to_string(tensor) + " x " + std::to_string(pipeline)) !=
            std::string::npos);
  }
}

TEST_CASE("oracle ranks: a bad plan ends the step on rank 0 and the others' wait") {
  OracleGroup group(2, 2);
  const auto output = group.driver->add({9, 0, {1}, {0}}).run();  // a slot that is not open
  REQUIRE(!output.has_value());
  CHECK(output.error().code == ErrorCode::internal);
  for (const Error& error : group.join()) CHECK(error.code == ErrorCode::aborted);
}

TEST_CASE("oracle ranks: a rank that is told to end takes the others along in mid-step") {
  OracleGroup group(1, 2);
  group.driver->open({.slot = 0});
  CHECK(group.run({0, 0, {5}, {0}}).size() == 1);
  group.rank(1).abort();
  const auto output = group.driver->add({0, 1, {-1}, {0}}).run();
  REQUIRE(!output.has_value());
  CHECK(output.error().code == ErrorCode::aborted);
  CHECK(group.join().at(0).code == ErrorCode::aborted);
}

}  // namespace oracle_ranks_test
