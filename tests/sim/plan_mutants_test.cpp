// Tests of the test: plans that break a rule of paging or pipelining on their way to the device, as
// a batcher with that fault would send them, must show.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include "tests/sim/caught.h"

using namespace troupe;
using sim::Tamper;

namespace plan_mutants_test {
namespace {

constexpr uint64_t kSeedsMax = 150;

/// Changes plans and keeps their chain of hashes whole; the batcher sees answers to its own plans.
struct PlanMutant : Tamper {
  virtual void change(StepPlan& plan) = 0;

  void from_batcher(BatcherEffects& effects) override {
    for (BatcherEffect& effect : effects) {
      auto* run = std::get_if<batcher_out::RunStep>(&effect);
      if (run == nullptr) continue;
      auto plan = std::make_shared<StepPlan>(*run->plan);
      change(*plan);
      uint64_t& last = last_hash[{plan->key.epoch, plan->key.lane}];
      plan->key.prev_hash = last;
      plan->hash = last = hash_of(*plan);
      originals[plan->hash] = run->plan;
      run->plan = std::move(plan);
    }
  }
  void to_batcher(const BatcherConfig&, BatcherInput& in) override {
    if (auto* failed = std::get_if<batcher_in::StepFailed>(&in)) {
      for (const auto& [hash, plan] : originals)
        if (plan->key.epoch == failed->key.epoch && plan->key.step == failed->key.step)
          failed->key = plan->key;
    }
    auto* done = std::get_if<batcher_in::StepDone>(&in);
    if (done == nullptr || !originals.contains(done->output->plan_hash)) return;
    const auto& original = originals.at(done->output->plan_hash);
    auto output = std::make_shared<StepOutput>(*done->output);
    output->key = original->key;
    output->plan_hash = original->hash;
    done->output = std::move(output);
  }

  std::map<std::pair<uint64_t, uint32_t>, uint64_t> last_hash;  ///< by epoch and lane
  std::map<uint64_t, std::shared_ptr<const StepPlan>> originals;
};

/// Nothing is broken: shows that the way through the mutant changes nothing.
struct Faithful final : PlanMutant {
  void change(StepPlan&) override {}
};

/// A row names the token of another sequence.
struct MixesReferences final : PlanMutant {
  void change(StepPlan& plan) override {
    int32_t* first = nullptr;
    for (int32_t& token : plan.tokens) {
      if (token >= 0) continue;
      if (first != nullptr) return std::swap(*first, token);
      first = &token;
    }
  }
};

/// A block that the plan before still names is given to another sequence.
struct FreesInFlight final : PlanMutant {
  void change(StepPlan& plan) override {
    for (const Slice& slice : plan.slices) {
      if (slice.pos0 % kBlockPositions != 0) continue;
      int32_t& fresh = plan.blocks[static_cast<size_t>(slice.blk_off + slice.n_blk - 1)];
      const auto& named = before[plan.key.epoch];
      const auto other =
          std::ranges::find_if(named, [&](const auto& entry) { return entry.first != slice.slot; });
      if (other == named.end()) continue;
      fresh = other->second;
      break;
    }
    auto& named = before[plan.key.epoch];
    named.clear();
    for (const Slice& slice : plan.slices)
      named[slice.slot] = plan.blocks[static_cast<size_t>(slice.blk_off + slice.n_blk - 1)];
  }
  std::map<uint64_t, std::map<int32_t, int32_t>> before;  ///< epoch -> slot -> its last block
};

/// A block shared up to its middle is not copied.
struct SkipsCopies final : PlanMutant {
  void change(StepPlan& plan) override { plan.copy.clear(); }
};

/// A plan goes into the lane behind its own.
struct MixesLanes final : PlanMutant {
  void change(StepPlan& plan) override {
    uint32_t& most = lanes[plan.key.epoch];
    most = std::max(most, plan.key.lane);
    if (plan.key.step % 8 == 0) plan.key.lane = (plan.key.lane + 1) % (most + 1);
  }
  std::map<uint64_t, uint32_t> lanes;  ///< epoch -> the highest seen
};

}  // namespace

TEST_CASE("sim: plans that pass through a mutant unchanged break nothing") {
  CHECK(sim::caught_at<Faithful>(30) == 0);
}
TEST_CASE("sim: a row that names another sequence's token is caught") {
  CHECK(sim::caught_at<MixesReferences>(kSeedsMax) > 0);
}
TEST_CASE("sim: a block freed while a plan in flight names it is caught") {
  CHECK(sim::caught_at<FreesInFlight>(kSeedsMax) > 0);
}
TEST_CASE("sim: a plan sent in another lane than its own is caught") {
  CHECK(sim::caught_at<MixesLanes>(kSeedsMax) > 0);
}
TEST_CASE("sim: a shared block that is written without a copy is caught") {
  CHECK(sim::caught_at<SkipsCopies>(kSeedsMax) > 0);
}

}  // namespace plan_mutants_test
