#include "cluster/schedule.h"

#include <algorithm>
#include <set>

#include "config/check.h"
#include "config/limits.h"

namespace troupe {

namespace {

bool reserved(const Sequence& sequence) { return sequence.preemptions >= kPreemptionsMax; }

}  // namespace

Schedule::Schedule(const ScheduleConfig& config)
    : config_(config), books_(config.blocks, config.numerics_id) {
  for (int32_t i = config.slots; i-- > 0;) slots_free_.push_back(SlotId(i));
}

void Schedule::add(Sequence& sequence) { waiting_.emplace(sequence.order, &sequence); }

void Schedule::remove(Sequence& sequence) {
  if (running_.erase(sequence.order) > 0) {
    books_.release(sequence);
    free_slot(sequence);
  } else {
    TROUPE_CHECK(waiting_.erase(sequence.order) == 1, sequence.order.arrival);
  }
}

void Schedule::free_slot(Sequence& sequence) {
  if (sequence.slot_sent) closed_.push_back(sequence.slot->value);
  slots_free_.push_back(*sequence.slot);
  sequence.slot.reset();
  sequence.slot_sent = false;
}

std::vector<Pick> Schedule::pick(Time now) {
  std::vector<Pick> picks;
  int32_t rows_left = config_.rows;
  const auto prefills = [](const Sequence& s) { return s.rows_wanted() > 1 || s.scoring(); };
  // Oldest first. has_block_for_next preempts only those behind, which are not picked yet.
  for (auto at = running_.begin(); at != running_.end() && rows_left > 0; ++at) {
    Sequence& sequence = *at->second;
    if (prefills(sequence) || !has_block_for_next(sequence)) continue;
    picks.push_back(Pick{&sequence, 1});
    --rows_left;
  }
  for (auto at = running_.begin(); at != running_.end() && rows_left > 0; ++at) {
    if (prefills(*at->second)) pick_chunk(*at->second, rows_left, picks);
  }
  admit(now, rows_left, picks);
  return picks;
}

void Schedule::pick_chunk(Sequence& sequence, int32_t& rows_left, std::vector<Pick>& picks) const {
  const int32_t rows = std::min({rows_possible(sequence), config_.chunk, rows_left});
  picks.push_back(Pick{&sequence, rows});
  rows_left -= rows;
}

bool Schedule::has_block_for_next(Sequence& sequence) {
  if (blocks_for(sequence.computed + 1) <= static_cast<int32_t>(sequence.blocks.size()))
    return true;
  while (!books_.grow(sequence)) {
    Sequence* victim = victim_younger_than(sequence);
    // Older and reserved ones go on meanwhile and will give back blocks when they end.
    if (victim == nullptr) return false;
    preempt(*victim);
  }
  return true;
}

Sequence* Schedule::victim_younger_than(const Sequence& sequence) const {
  for (auto at = running_.rbegin(); at != running_.rend() && at->first > sequence.order; ++at) {
    if (!reserved(*at->second)) return at->second;
  }
  return nullptr;
}

void Schedule::preempt(Sequence& victim) {
  running_.erase(victim.order);
  books_.release(victim);
  free_slot(victim);
  ++victim.preemptions;
  ++preemptions_;
  waiting_.emplace(victim.order, &victim);
}

void Schedule::admit(Time now, int32_t rows_left, std::vector<Pick>& picks) {
  for (auto at = waiting_.begin(); at != waiting_.end() && rows_left > 0 && !slots_free_.empty();) {
    Sequence& sequence = *at->second;
    const int32_t positions =
        reserved(sequence) ? std::max(sequence.size(), sequence.positions_max()) : sequence.size();
    // About one in kBlockPositions of those that run wants a block in the next step.
    const int32_t spare =
        running_.empty() ? 0 : 1 + static_cast<int32_t>(running_.size()) / kBlockPositions;
    const Admission admission = books_.admit(sequence, positions, spare);
    if (admission == Admission::full) break;
    if (admission == Admission::sharing) {
      ++at;
      continue;
    }
    sequence.slot = slots_free_.back();
    slots_free_.pop_back();
    if (sequence.preemptions == 0) {
      sequence.admitted = now;
      sequence.cached_tokens = sequence.computed;
    }
    pick_chunk(sequence, rows_left, picks);
    running_.emplace(at->first, &sequence);
    at = waiting_.erase(at);
  }
}

void Schedule::computed(const Pick& pick) {
  pick.sequence->computed += pick.rows;
  books_.publish(*pick.sequence);
}

int64_t Schedule::rows_queued() const {
  int64_t rows = 0;
  for (const auto& [order, sequence] : waiting_) rows += sequence->size();
  for (const auto& [order, sequence] : running_) {
    if (sequence->rows_wanted() > 1) rows += sequence->rows_wanted();
  }
  return rows;
}

void Schedule::check() const {
  std::vector<const Sequence*> holders;
  std::set<int32_t> slots;
  for (const auto& [order, sequence] : running_) {
    holders.push_back(sequence);
    TROUPE_CHECK(order == sequence->order && sequence->slot.has_value(), order.arrival);
    TROUPE_CHECK(slots.insert(sequence->slot->value).second, sequence->slot->value);
    TROUPE_CHECK(sequence->computed < sequence->size(), sequence->computed, sequence->size());
    TROUPE_CHECK(sequence->size() <= sequence->size_max, sequence->size(), sequence->size_max);
    if (reserved(*sequence)) {
      TROUPE_CHECK(
          blocks_for(sequence->positions_max()) <= static_cast<int32_t>(sequence->blocks.size()),
          sequence->positions_max());
    }
  }
  for (SlotId slot : slots_free_) TROUPE_CHECK(slots.insert(slot.value).second, slot);
  TROUPE_CHECK(static_cast<int32_t>(slots.size()) == config_.slots, slots.size());
  TROUPE_CHECK(slots.empty() || (*slots.begin() == 0 && *slots.rbegin() == config_.slots - 1));
  for (const auto& [order, sequence] : waiting_) {
    TROUPE_CHECK(order == sequence->order && !sequence->slot && sequence->blocks.empty(),
                 order.arrival);
    TROUPE_CHECK(sequence->computed == 0, sequence->computed);
  }
  books_.check(holders);
}

}  // namespace troupe
