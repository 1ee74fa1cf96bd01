// A router's journal as its peer keeps it: enough to continue every open request if the router
// dies. Bounded by kJournalBytesMax; the oldest entries of dead routers go first. Pure; first
// owner: the node process.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "cluster/messages.h"
#include "config/limits.h"

namespace troupe {

class JournalStore {
 public:
  /// Stores the append and answers with the highest number stored without a gap. Repeats are
  /// harmless. nullopt: nothing to acknowledge (a gap: the append is not applied; the router sends
  /// again or goes on unsaved).
  std::optional<JournalAck> append(Time now, const JournalAppend& append);
  JournalEntry read(RequestId id) const;
  /// Its entries are kept for kJournalKeep more.
  void router_lost(Time now, Incarnation router);
  size_t bytes() const { return bytes_; }
  size_t entries() const { return entries_.size(); }
  void check() const;

 private:
  struct Entry {
    Incarnation router;
    JournalEntry entry;
    std::optional<Time> until;  ///< set once the router is lost
    size_t bytes = 0;
  };
  void expire(Time now);
  void drop(std::map<RequestId, Entry>::iterator at);

  std::map<RequestId, Entry> entries_;
  std::map<Incarnation, uint64_t> stored_;  ///< last number per router
  size_t bytes_ = 0;
};

}  // namespace troupe
