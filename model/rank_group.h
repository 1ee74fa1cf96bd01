// A rank's place in its group, and its calls to the others with the right tags. The group's
// collective belongs to the caller. One thread, but for abort().
//
// Every rank runs the same steps in the same order, so each counts them alone: a call is tagged
// with that count and its number among the step's calls of the same ranks, and ranks that have
// diverged notice.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "config/result.h"
#include "config/time.h"
#include "model/collective.h"
#include "model/partition.h"
#include "model/partition_plan.h"
#include "model/step_frame.h"

namespace troupe {

class RankGroup {
 public:
  RankGroup() = default;
  /// invalid_argument when the plan has no such rank, or the collective is not of its ranks.
  Result<void> join(const PartitionPlan& plan, int rank, const Budget& budget);

  int32_t tp() const { return tp_; }
  int32_t tensor_parallel() const { return tensor_parallel_; }
  int32_t stages() const { return stages_; }
  bool alone() const { return tensor_parallel_ * stages_ == 1; }
  bool first_stage() const { return stage_index_ == 0; }
  bool last_stage() const { return stage_index_ + 1 == stages_; }
  bool leads() const { return first_stage() && tp_ == 0; }  ///< rank 0: has the batcher
  bool draws() const { return last_stage() && tp_ == 0; }   ///< the head rank

  /// The next step begins and may take `time`.
  void begin_step(Duration time);
  /// From now on the step may take `time`.
  void limit_step(Duration time);

  // Among the ranks of this stage; tensor_parallel() > 1.
  Result<void> gather(std::span<const std::byte> mine, std::span<std::byte> all,
                      std::span<const size_t> counts);
  Result<void> share_frame(StepFrame& frame);  ///< from tp 0 to the others
  Result<void> send_in_stage(std::span<std::byte> bytes, int32_t tp);
  Result<void> receive_in_stage(std::span<std::byte> bytes, int32_t tp);

  // To the same tp of the next stage, from the one before.
  Result<void> send_on(std::span<std::byte> bytes);
  Result<void> receive_on(std::span<std::byte> bytes);
  Result<void> send_frame_on(StepFrame& frame);
  Result<void> receive_frame_on(StepFrame& frame);

  // From the head rank to rank 0. Answers come in the order of steps, while rank 0 may have begun
  // later ones; waiting for one may take `time`.
  Result<void> send_answer(StepFrame& frame);
  Result<void> receive_answer(StepFrame& frame, Duration time);

  /// Ends every call of the generation on all ranks. From any thread, also before join().
  void abort() noexcept;

 private:
  using Clock = std::chrono::steady_clock;
  /// Numbers of a step's calls, one series for each set of ranks.
  struct Calls {
    uint32_t stage = 0, in = 0, out = 0, answer = 0;
    std::vector<uint32_t> within;  ///< by tp of the peer
  };
  CallTag tag(uint32_t& calls) { return tag(step_, calls, end_); }
  CallTag tag(uint64_t step, uint32_t& calls, Clock::time_point end) const;
  int peer(int32_t stages_on) const { return rank_ + stages_on * tensor_parallel_; }

  std::atomic<Collective*> host_ = nullptr;
  std::atomic<uint32_t> generation_ = 0;
  std::unique_ptr<Collective> stage_;  ///< tensor parallel ranks of this stage, if there are more
  int32_t rank_ = 0, tp_ = 0, tensor_parallel_ = 1, stage_index_ = 0, stages_ = 1;
  uint64_t step_ = 0;
  uint64_t answers_ = 0;  ///< received
  Calls calls_;
  Clock::time_point end_{};
};

}  // namespace troupe
