// The router's side of the journal: gathers what one step adds, numbers it, and says up to which
// number tokens may be shown. A peer that is silent for the acknowledgement timeout is not waited
// for until it has caught up. Pure; owned by the Router machine. Bound: kJournalUnackedMax appends
// wait, then the peer counts as silent.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "cluster/messages.h"

namespace troupe {

class JournalWriter {
 public:
  /// Without a peer nothing is gathered and everything may be shown.
  JournalWriter(Incarnation router, bool has_peer, Duration ack_timeout, Duration resync_interval);

  // -- what this step adds ------------------------------------------------------------------------
  void open(JournalOpen entry);
  /// Gives the number the tokens will be written under: show them once released() has reached it.
  uint64_t tokens(const SequenceKey& key, uint64_t seq, TokenId token);
  void close(RequestId id);
  /// The append of this step, if it adds anything.
  std::optional<JournalAppend> flush(Time now);
  /// One append of a whole journal; the first one resets the peer.
  JournalAppend flush_whole(Time now, std::vector<JournalOpen> opened,
                            std::vector<JournalTokens> tokens, bool first);

  // -- what may be shown
  // ----------------------------------------------------------------------------
  uint64_t released() const;
  enum class Heard : uint8_t { nothing, progress, gap };
  /// `gap`: the peer missed an append; send a whole journal (given at most once per resync
  /// interval).
  Heard acked(Time now, const JournalAck& ack);
  /// True when the peer has just become silent.
  bool expire(Time now);
  /// Requests whose tokens have become showable since the last call.
  std::vector<RequestId> take_released();

  std::optional<Time> deadline() const;
  /// Appends with tokens that were shown without an acknowledgement.
  uint64_t timeouts() const { return timeouts_; }
  void check() const;

 private:
  struct Unacked {
    uint64_t number;
    Time at;
    std::vector<RequestId> waiting;
  };
  void remember(Time now, uint64_t number, std::vector<RequestId> waiting);
  void give_up();

  Incarnation router_;
  bool has_peer_;
  Duration ack_timeout_, resync_interval_;
  JournalAppend next_;
  std::vector<RequestId> next_waiting_;
  uint64_t last_ = 0;   ///< number of the last append sent
  uint64_t acked_ = 0;  ///< highest acknowledged
  std::deque<Unacked> unacked_;
  std::optional<uint64_t> silent_until_;  ///< silent: an ack of this number ends it
  std::optional<Time> resynced_;
  std::vector<RequestId> released_;
  uint64_t timeouts_ = 0;
};

}  // namespace troupe
