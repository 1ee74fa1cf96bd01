// A router's journal as its peer keeps it: enough to continue every open request if the router
// dies. Bounded by kJournalBytesMax; the oldest entries of dead routers go first, then an entry
// that does not fit is not kept (read() says known = false: never a part of an answer). Pure; first
// owner: the node process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

#include "cluster/messages.h"
#include "config/limits.h"

namespace troupe {

class JournalStore {
 public:
  explicit JournalStore(size_t bytes_max = kJournalBytesMax);

  /// Stores the append and answers with the highest number stored without a gap. Repeats are
  /// harmless. After a gap the append is not applied and the answer repeats the last number: the
  /// router then sends its whole journal.
  std::optional<JournalAck> append(Time now, const JournalAppend& append);
  /// `accepted` has one list a choice.
  JournalEntry read(RequestId id) const;
  /// Its entries are kept for kJournalOrphanKept more. The owner drops what it sends late.
  void router_lost(Time now, Incarnation router);
  size_t bytes() const { return bytes_; }
  size_t entries() const { return entries_.size(); }
  /// Entries that were not kept for want of room or because their tokens did not follow.
  uint64_t not_kept() const { return not_kept_; }
  void check() const;

 private:
  struct Entry {
    Incarnation router;
    JournalEntry entry;
    std::optional<Time> until;  ///< set once the router is lost
    size_t bytes = 0;
  };
  using Entries = std::map<RequestId, Entry>;
  void expire(Time now);
  void drop(Entries::iterator at);
  void drop_all_of(Incarnation router);
  void open(Incarnation router, const JournalOpen& opened);
  void add(Incarnation router, const JournalTokens& tokens);
  bool make_room(size_t bytes);

  size_t bytes_max_;
  Entries entries_;
  std::map<Incarnation, uint64_t> stored_;  ///< last number per living router
  std::optional<Time> next_expiry_;         ///< nullopt: no entry has an end
  size_t bytes_ = 0;
  uint64_t not_kept_ = 0;
};

}  // namespace troupe
