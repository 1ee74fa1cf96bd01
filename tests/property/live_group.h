// A batcher with its device, and what its routers were told, kept under check() after every input.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "cluster/batcher.h"
#include "tests/property/device.h"

namespace troupe::test {

/// How large the group is and what runs on it; the least of each is the simplest.
struct GroupShape {
  int32_t blocks = 4, slots = 2, rows = 1, chunk = 1, plans = 1, lanes = 1;
  int32_t loop = 0;   ///< of the toy model
  int32_t model = 0;  ///< 0: the toy, 1: the oracle
};

/// What one attempt was told.
struct Told {
  bool taken = false;
  std::vector<TokenId> tokens;
  std::vector<LogProbs> logprobs, prompt_logprobs;
  Finish finish = Finish::none;
  std::optional<Error> refused;
  bool over() const { return finish != Finish::none || refused.has_value(); }
};

class LiveGroup {
 public:
  explicit LiveGroup(const GroupShape& shape);

  void input(const BatcherInput& in);
  void enqueue(const Enqueue& request, RouterId router);
  /// The oldest plan in flight ends; false: none is.
  bool run_step(Duration took);
  /// The device gives up; the generation ends and holds nothing. False: no plan is in flight.
  bool fail_step();
  /// Until every request is over. Then a canary, which also closes what is to be closed.
  void settle();
  /// Aborts the program unless nothing is held and nothing runs.
  void check_at_rest() const;

  const Told& told(const Enqueue& request);
  GroupStatus status() const { return batcher_.status(now_); }
  void pass(Duration time) { now_ += time; }
  uint64_t copies() const { return copies_; }

  static constexpr int32_t kContext = 140;
  BatcherConfig config;

 private:
  using Attempt = std::pair<SequenceKey, AttemptId>;
  void perform(const batcher_out::RunStep& effect);
  void perform(const batcher_out::ToRouter& effect);
  void perform(const batcher_out::Fault& effect);
  void perform(const batcher_out::Drained&) {}
  void perform(const batcher_out::Drop&) {}
  void hear(const TokenChunk& chunk);

  std::unique_ptr<Device> device_;
  Batcher batcher_;
  Time now_{1s};
  std::vector<std::shared_ptr<const StepPlan>> plans_;  ///< oldest first
  std::map<Attempt, Told> told_;
  std::map<Attempt, uint64_t> accepted_;  ///< tokens that the attempt began with
  std::map<int32_t, int> open_;           ///< slots of the device
  bool failing_ = false;
  uint64_t copies_ = 0;
};

}  // namespace troupe::test
