// Which sequences run in the next step, with how many rows: decode rows first, then prefills oldest
// first, chunked. Holds the order of those that wait and run, the slots and the KV books. Owned by
// one Batcher.
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
#include "config/time.h"

namespace troupe {

struct ScheduleConfig {
  Digest numerics_id{};
  int32_t blocks = 0;
  int32_t slots = 0;
  int32_t rows = 0;   ///< per step
  int32_t chunk = 0;  ///< rows of one prefill per step
};

class Schedule {
 public:
  explicit Schedule(const ScheduleConfig& config);

  /// The sequence must stay at its address until remove().
  void add(Sequence& sequence);
  /// Gives back all it holds. Not while a plan that names it is in flight.
  void remove(Sequence& sequence);

  /// For the next step; takes slots and blocks, preempts. Empty when nothing can run.
  std::vector<Pick> pick(Time now);
  /// The rows of this pick are in the KV now.
  void computed(const Pick& pick);

  /// Slots the device has open that nobody uses any more; the caller puts them into its next plan.
  std::vector<int32_t> take_closed() { return std::exchange(closed_, {}); }

  size_t waiting() const { return waiting_.size(); }
  size_t running() const { return running_.size(); }
  bool empty() const { return waiting_.empty() && running_.empty(); }
  /// Tokens known but not in the KV, of all that wait or prefill.
  int64_t rows_queued() const;
  uint64_t preemptions() const { return preemptions_; }
  const KvBooks& books() const { return books_; }
  /// Whether a sequence of so many positions can ever run.
  bool fits(int32_t positions) const { return blocks_for(positions) <= config_.blocks; }

  void check() const;

 private:
  using Line = std::map<SequenceOrder, Sequence*>;
  bool has_block_for_next(Sequence& sequence);
  Sequence* victim_younger_than(const Sequence& sequence) const;
  void preempt(Sequence& victim);
  void admit(Time now, int32_t rows_left, std::vector<Pick>& picks);
  void pick_chunk(Sequence& sequence, int32_t& rows_left, std::vector<Pick>& picks) const;
  void free_slot(Sequence& sequence);

  ScheduleConfig config_;
  KvBooks books_;
  Line waiting_, running_;
  std::vector<SlotId> slots_free_;
  std::vector<int32_t> closed_;
  uint64_t preemptions_ = 0;
};

}  // namespace troupe
