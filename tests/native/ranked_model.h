// A model whose ranks are threads of this process. The test drives rank 0 as it would a model of
// one rank; the others follow.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "model/follower.h"
#include "tests/support/backend_model.h"
#include "tests/support/local_collective.h"

namespace troupe::test {

class RankedModel {
 public:
  RankedModel(const OpenedModel& model, int32_t tensor_parallel, int32_t pipeline_parallel,
              Budget budget)
      : group_(tensor_parallel * pipeline_parallel) {
    auto plan = plan_partitions(model.bundle.spec, tensor_parallel, pipeline_parallel);
    REQUIRE_MESSAGE(plan.has_value(), plan.error().message);
    plan_ = std::move(*plan);
    const auto size = static_cast<int>(plan_.ranks.size());
    budget.generation = 1;
    for (int r = 0; r < size; ++r) {
      links_.push_back(group_.rank(r));
      budget.host = size > 1 ? links_.back().get() : nullptr;
      ranks_.push_back(BackendModel::make("native"));
      const auto loaded = ranks_.back()->load(*model.weights, model.bundle.spec, plan_, r, budget);
      REQUIRE_MESSAGE(loaded.has_value(), loaded.error().message);
      capabilities.push_back(*loaded);
    }
  }
  ~RankedModel() { end(); }
  RankedModel(const RankedModel&) = delete;
  RankedModel& operator=(const RankedModel&) = delete;

  /// Sets the other ranks going; without it they are absent.
  void follow() {
    errors_.resize(ranks_.size());
    for (size_t r = 1; r < ranks_.size(); ++r)
      threads_.emplace_back([this, r] { errors_[r] = follow_steps(*ranks_[r], 60s); });
  }
  /// Ends all ranks; why each of the others ended.
  std::vector<Error> end() {
    ranks_.front()->abort();
    return join();
  }
  std::vector<Error> join() {
    for (std::thread& t : threads_) t.join();
    threads_.clear();
    return errors_.empty() ? errors_ : std::vector<Error>(errors_.begin() + 1, errors_.end());
  }

  Partition& partition() { return *ranks_.front(); }
  Partition& rank(size_t r) { return *ranks_[r]; }
  const PartitionPlan& plan() const { return plan_; }

  std::vector<Capabilities> capabilities;

 private:
  testing::LocalGroup group_;
  PartitionPlan plan_;
  std::vector<std::unique_ptr<Collective>> links_;
  std::vector<std::unique_ptr<Partition>> ranks_;
  std::vector<std::thread> threads_;
  std::vector<Error> errors_;
};

}  // namespace troupe::test
