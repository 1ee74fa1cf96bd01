#include "cluster/journal_store.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "config/check.h"

namespace troupe {
namespace {

// The entry itself with its map node, besides prompt, tokens and strings.
constexpr size_t kEntryOverhead = sizeof(JournalEntry) + 128;

size_t bytes_of(const JournalOpen& opened) {
  size_t bytes = kEntryOverhead + opened.model.size();
  bytes += (opened.prompt.size() + opened.stop_ids.size()) * sizeof(TokenId);
  bytes += opened.sampling.bias.size() * sizeof(std::pair<int32_t, float>);
  bytes += static_cast<size_t>(std::max(0, opened.choices)) * sizeof(std::vector<TokenId>);
  for (const std::string& stop : opened.stop_strings) bytes += sizeof(stop) + stop.size();
  return bytes;
}

}  // namespace

JournalStore::JournalStore(size_t bytes_max) : bytes_max_(bytes_max) {}

std::optional<JournalAck> JournalStore::append(Time now, const JournalAppend& append) {
  expire(now);
  const auto known = stored_.find(append.router);
  const uint64_t last = known == stored_.end() ? 0 : known->second;
  if (append.number <= last) return JournalAck{append.router, last};
  if (append.whole)
    drop_all_of(append.router);
  else if (append.number != last + 1)
    return JournalAck{append.router, last};
  stored_[append.router] = append.number;
  for (const JournalOpen& opened : append.opened) open(append.router, opened);
  for (const JournalTokens& tokens : append.tokens) add(append.router, tokens);
  for (RequestId id : append.closed) {
    const auto entry = entries_.find(id);
    if (entry != entries_.end() && entry->second.router == append.router) drop(entry);
  }
  return JournalAck{append.router, append.number};
}

void JournalStore::open(Incarnation router, const JournalOpen& opened) {
  if (opened.choices < 1 || opened.choices > kChoicesMax) {
    ++not_kept_;
    return;
  }
  const auto before = entries_.find(opened.id);
  if (before != entries_.end()) drop(before);
  const size_t bytes = bytes_of(opened);
  if (!make_room(bytes)) {
    ++not_kept_;
    return;
  }
  Entry& entry = entries_[opened.id];
  entry.router = router;
  entry.bytes = bytes;
  entry.entry.id = opened.id;
  entry.entry.known = true;
  entry.entry.open = opened;
  entry.entry.accepted.resize(static_cast<size_t>(opened.choices));
  bytes_ += bytes;
}

void JournalStore::add(Incarnation router, const JournalTokens& tokens) {
  const auto at = entries_.find(tokens.key.id);
  if (at == entries_.end() || at->second.router != router) return;
  std::vector<std::vector<TokenId>>& accepted = at->second.entry.accepted;
  const auto choice = static_cast<size_t>(tokens.key.choice);
  const size_t bytes = tokens.tokens.size() * sizeof(TokenId);
  const bool follows =
      tokens.key.choice >= 0 && choice < accepted.size() && accepted[choice].size() == tokens.seq;
  if (!follows || !make_room(bytes)) {
    // Part of an answer is worse than none: a resume would repeat tokens.
    ++not_kept_;
    drop(at);
    return;
  }
  accepted[choice].insert(accepted[choice].end(), tokens.tokens.begin(), tokens.tokens.end());
  at->second.bytes += bytes;
  bytes_ += bytes;
}

bool JournalStore::make_room(size_t bytes) {
  while (bytes_ + bytes > bytes_max_) {
    auto oldest = entries_.end();
    for (auto at = entries_.begin(); at != entries_.end(); ++at)
      if (at->second.until &&
          (oldest == entries_.end() || *at->second.until < *oldest->second.until))
        oldest = at;
    if (oldest == entries_.end()) return false;
    drop(oldest);
  }
  return true;
}

JournalEntry JournalStore::read(RequestId id) const {
  const auto at = entries_.find(id);
  if (at != entries_.end()) return at->second.entry;
  JournalEntry unknown;
  unknown.id = id;
  return unknown;
}

void JournalStore::router_lost(Time now, Incarnation router) {
  expire(now);
  stored_.erase(router);
  for (auto& [id, entry] : entries_)
    if (entry.router == router && !entry.until) entry.until = now + kJournalOrphanKept;
  if (!next_expiry_) next_expiry_ = now + kJournalOrphanKept;
}

void JournalStore::expire(Time now) {
  if (!next_expiry_ || now < *next_expiry_) return;
  next_expiry_.reset();
  for (auto at = entries_.begin(); at != entries_.end();) {
    const auto next = std::next(at);
    const std::optional<Time> until = at->second.until;
    if (until && *until <= now)
      drop(at);
    else if (until && (!next_expiry_ || *until < *next_expiry_))
      next_expiry_ = until;
    at = next;
  }
}

void JournalStore::drop(Entries::iterator at) {
  bytes_ -= at->second.bytes;
  entries_.erase(at);
}

void JournalStore::drop_all_of(Incarnation router) {
  for (auto at = entries_.begin(); at != entries_.end();) {
    const auto next = std::next(at);
    if (at->second.router == router) drop(at);
    at = next;
  }
}

void JournalStore::check() const {
  size_t bytes = 0;
  for (const auto& [id, entry] : entries_) {
    TROUPE_CHECK(entry.entry.known && entry.entry.id == id, id);
    TROUPE_CHECK(entry.until || stored_.contains(entry.router), id, entry.router);
    size_t tokens = 0;
    for (const auto& accepted : entry.entry.accepted) tokens += accepted.size();
    TROUPE_CHECK(entry.bytes == bytes_of(entry.entry.open) + tokens * sizeof(TokenId), id);
    bytes += entry.bytes;
  }
  TROUPE_CHECK(bytes == bytes_, bytes, bytes_);
  TROUPE_CHECK(bytes_ <= bytes_max_, bytes_, bytes_max_);
}

}  // namespace troupe
