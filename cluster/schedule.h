// Which sequences run in the next step, with how many rows: decode rows first, then prompts in
// chunks within the step budget, oldest first and one after another, so that each answer begins as
// early as it can. A prompt that had kPromptTurnRows rows leaves three quarters of the room to
// those that came later. Holds the order of those that wait and run, the slots and the KV books.
// Owned by one Batcher.
//
// In a pipeline of several stages plans are made for lanes that run side by side, one in each
// stage. A lane takes its share of those that decode, the oldest of those that no other lane is
// drawing for, so that the lanes stay even; chunks of one prompt may follow each other in different
// lanes.
//
// Nothing starves: those that wait enter strictly in order; the youngest loses its blocks when an
// older one needs one; and a sequence that lost them kPreemptionsMax times enters again only with
// all blocks it can ever need, so it need not be a victim again.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "cluster/kv_books.h"
#include "cluster/plan_builder.h"
#include "cluster/sequence.h"
#include "cluster/step_budget.h"
#include "config/time.h"

namespace troupe {

struct ScheduleConfig {
  Digest numerics_id{};
  int32_t blocks = 0;
  int32_t slots = 0;
  int32_t rows = 0;  ///< per step
  int32_t lanes = 1;
};

/// What is in flight when a plan is made. With anything there nothing can be taken from anybody.
enum class InFlight : uint8_t { nothing, other_lanes, own_lane };

/// What a lane shall do next.
struct NextStep {
  std::vector<Pick> picks;
  /// Nothing, because somebody would have to be preempted: that waits until no plan is in flight.
  bool must_preempt = false;
};

class Schedule {
 public:
  explicit Schedule(const ScheduleConfig& config);

  /// The sequence must stay at its address until remove().
  void add(Sequence& sequence);
  /// Gives back all it holds. Not while a plan that names it is in flight.
  void remove(Sequence& sequence);

  /// For the next step of a lane; takes slots and blocks, preempts. Empty when nothing can run.
  NextStep pick(Time now, const StepBudget& budget, const Speculation& speculation, int32_t lane,
                InFlight in_flight);
  /// Somebody would have drafts if the lane's next plan waited until all its tokens are known.
  bool wants_drafts(const StepBudget& budget, const Speculation& speculation, int32_t lane) const;
  /// The plan with this slice of the sequence is done and its tokens are known.
  void landed(Sequence& sequence, const Slice& slice, const SliceOut& out);

  /// Slots the device has open that nobody uses any more; the caller puts them into its next plan.
  std::vector<int32_t> take_closed() { return std::exchange(closed_, {}); }

  size_t waiting() const { return waiting_.size(); }
  size_t running() const { return running_.size(); }
  bool empty() const { return waiting_.empty() && running_.empty(); }
  /// Tokens known but not in the KV, of all that wait or prefill.
  int64_t rows_queued() const;
  uint64_t preemptions() const { return preemptions_; }
  const KvBooks& books() const { return books_; }
  PrefixLog& prefix_log() { return books_.prefix_log(); }
  /// Whether a sequence of so many positions can ever run.
  bool fits(int32_t positions) const { return blocks_for(positions) <= config_.blocks; }

  void check() const;
  /// Aborts unless all that a plan in flight names is still held.
  void check_pinned(const StepPlan& plan) const;

 private:
  using Line = std::map<SequenceOrder, Sequence*>;
  int32_t decode_share() const;
  bool has_block_for_next(Sequence& sequence, InFlight in_flight);
  void add_drafts(const StepBudget& budget, const Speculation& speculation, int32_t& rows_left,
                  std::vector<Pick>& picks);
  Sequence* victim_younger_than(const Sequence& sequence) const;
  void preempt(Sequence& victim);
  /// Rows that prompts may still have in the plan at hand.
  struct Room {
    int32_t rows = 0;
    bool first = true;  ///< nobody got any: then even less than a unit is given
  };
  void pick_prompts(Time now, int32_t rows, std::vector<Pick>& picks);
  void admit(Time now, Room& room, std::vector<Pick>& picks);
  static int32_t chunk(const Sequence& sequence, const Room& room);
  static void pick_chunk(Sequence& sequence, Room& room, std::vector<Pick>& picks);
  void free_slot(Sequence& sequence);

  ScheduleConfig config_;
  KvBooks books_;
  Line waiting_, running_;
  std::vector<SlotId> slots_free_;
  std::vector<int32_t> closed_;
  uint64_t preemptions_ = 0;
  uint64_t narrow_steps_ = 0;  ///< with room for one unit only
};

}  // namespace troupe
