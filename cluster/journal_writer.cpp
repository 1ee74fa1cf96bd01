#include "cluster/journal_writer.h"

#include <utility>

#include "config/check.h"
#include "config/limits.h"

namespace troupe {

JournalWriter::JournalWriter(Incarnation router, bool has_peer, Duration ack_timeout,
                             Duration resync_interval)
    : router_(router),
      has_peer_(has_peer),
      ack_timeout_(ack_timeout),
      resync_interval_(resync_interval) {}

void JournalWriter::open(JournalOpen entry) {
  if (has_peer_) next_.opened.push_back(std::move(entry));
}

uint64_t JournalWriter::tokens(const SequenceKey& key, uint64_t seq, TokenId token) {
  if (!has_peer_) return 0;
  if (next_.tokens.empty() || next_.tokens.back().key != key) {
    next_.tokens.push_back({key, seq, {}});
    next_waiting_.push_back(key.id);
  }
  next_.tokens.back().tokens.push_back(token);
  return last_ + 1;
}

void JournalWriter::close(RequestId id) {
  if (has_peer_) next_.closed.push_back(id);
}

std::optional<JournalAppend> JournalWriter::flush(Time now) {
  if (next_.opened.empty() && next_.tokens.empty() && next_.closed.empty()) return std::nullopt;
  JournalAppend append = std::exchange(next_, {});
  append.router = router_;
  append.number = ++last_;
  remember(now, append.number, std::exchange(next_waiting_, {}));
  return append;
}

JournalAppend JournalWriter::flush_whole(Time now, std::vector<JournalOpen> opened,
                                         std::vector<JournalTokens> tokens, bool first) {
  // What this step gathered is part of the whole.
  TROUPE_CHECK(next_.tokens.empty());
  next_ = {};
  JournalAppend append;
  append.router = router_;
  append.number = ++last_;
  append.whole = first;
  append.opened = std::move(opened);
  append.tokens = std::move(tokens);
  remember(now, append.number, {});
  return append;
}

void JournalWriter::remember(Time now, uint64_t number, std::vector<RequestId> waiting) {
  if (silent_until_) {
    if (!waiting.empty()) ++timeouts_;
    return;
  }
  unacked_.push_back({number, now, std::move(waiting)});
  if (unacked_.size() > kJournalUnackedMax) give_up();
}

void JournalWriter::give_up() {
  silent_until_ = last_;
  for (Unacked& append : unacked_) {
    if (!append.waiting.empty()) ++timeouts_;
    released_.insert(released_.end(), append.waiting.begin(), append.waiting.end());
  }
  unacked_.clear();
}

uint64_t JournalWriter::released() const {
  return has_peer_ && !silent_until_ ? acked_ : last_ + 1;
}

JournalWriter::Heard JournalWriter::acked(Time now, const JournalAck& ack) {
  if (!has_peer_ || ack.router != router_ || ack.number > last_) return Heard::nothing;
  if (ack.number <= acked_) {
    if (ack.number == last_ || (resynced_ && now - *resynced_ < resync_interval_))
      return Heard::nothing;
    resynced_ = now;
    return Heard::gap;
  }
  acked_ = ack.number;
  if (silent_until_ && acked_ >= *silent_until_) silent_until_.reset();
  while (!unacked_.empty() && unacked_.front().number <= acked_) {
    const std::vector<RequestId>& waiting = unacked_.front().waiting;
    released_.insert(released_.end(), waiting.begin(), waiting.end());
    unacked_.pop_front();
  }
  return Heard::progress;
}

bool JournalWriter::expire(Time now) {
  if (unacked_.empty() || now < unacked_.front().at + ack_timeout_) return false;
  give_up();
  return true;
}

std::vector<RequestId> JournalWriter::take_released() { return std::exchange(released_, {}); }

std::optional<Time> JournalWriter::deadline() const {
  if (unacked_.empty()) return std::nullopt;
  return unacked_.front().at + ack_timeout_;
}

void JournalWriter::check() const {
  TROUPE_CHECK(acked_ <= last_, acked_, last_);
  TROUPE_CHECK(unacked_.size() <= kJournalUnackedMax, unacked_.size());
  TROUPE_CHECK(!silent_until_ || unacked_.empty());
  TROUPE_CHECK(next_.opened.empty() && next_.tokens.empty() && next_.closed.empty());
  uint64_t before = acked_;
  for (const Unacked& append : unacked_) {
    TROUPE_CHECK(append.number > before && append.number <= last_, append.number, before, last_);
    before = append.number;
  }
}

}  // namespace troupe
