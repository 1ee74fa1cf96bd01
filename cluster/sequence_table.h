// The sequences a group has: by key those that wait or run, and beside them those that ended or
// were withdrawn while a plan in flight named them, which hold their blocks and slot until it is
// done. Keeps the order of deadlines. Owns the sequences; owned by one Batcher. Bounded by what the
// batcher lets wait and the slots.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "cluster/flights.h"
#include "cluster/schedule.h"
#include "cluster/sequence.h"

namespace troupe {

class SequenceTable {
 public:
  /// Null: not here, or left.
  const Sequence* find(const SequenceKey& key) const;
  std::vector<SequenceKey> of_router(RouterId router) const;
  /// Its key must be new here. It waits in `schedule`.
  void add(Sequence sequence, Schedule& schedule);
  /// It is no longer here. `schedule` forgets it now, or in sweep() once no plan names it.
  void leave(const SequenceKey& key, Schedule& schedule);
  /// A plan has landed: those that left and are named no more are forgotten.
  void sweep(Schedule& schedule);
  /// No plan counts any more: `schedule` forgets all. Gives those that had not left, by key.
  std::vector<std::unique_ptr<Sequence>> clear(Schedule& schedule);

  /// The one whose deadline passed first.
  const Sequence* overdue(Time now) const;
  std::optional<Time> deadline() const;
  bool empty() const { return here_.empty() && leaving_.empty(); }

  /// Aborts unless keys, deadlines and plans in flight agree with the sequences, and `schedule` has
  /// as many.
  void check(const Schedule& schedule, const Flights& flights) const;

 private:
  std::map<SequenceKey, std::unique_ptr<Sequence>> here_;
  std::vector<std::unique_ptr<Sequence>> leaving_;
  std::set<std::pair<Time, SequenceKey>> deadlines_;
};

}  // namespace troupe
