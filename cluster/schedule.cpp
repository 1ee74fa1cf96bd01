#include "cluster/schedule.h"

#include <algorithm>
#include <set>

#include "config/check.h"
#include "config/limits.h"

namespace troupe {

namespace {

bool reserved(const Sequence& sequence) { return sequence.preemptions >= kPreemptionsMax; }

bool prefills(const Sequence& s) { return s.rows_wanted() > 1 || s.scoring_planned(); }

bool had_its_turn(const Sequence& s) { return s.planned - s.prompt_from >= kPromptTurnRows; }

}  // namespace

Schedule::Schedule(const ScheduleConfig& config)
    : config_(config), books_(config.blocks, config.numerics_id) {
  for (int32_t i = config.slots; i-- > 0;) slots_free_.push_back(SlotId(i));
}

void Schedule::add(Sequence& sequence) { waiting_.emplace(sequence.order, &sequence); }

void Schedule::remove(Sequence& sequence) {
  TROUPE_CHECK(sequence.flights == 0, sequence.flights);
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

/// Of a lane, of all that have a token to draw.
int32_t Schedule::decode_share() const {
  const auto decoding = std::ranges::count_if(running_, [](const auto& entry) {
    const Sequence& s = *entry.second;
    return !s.left && !s.complete_when_done() && !prefills(s);
  });
  return (static_cast<int32_t>(decoding) + config_.lanes - 1) / config_.lanes;
}

NextStep Schedule::pick(Time now, const StepBudget& budget, const Speculation& speculation,
                        int32_t lane, InFlight in_flight) {
  NextStep next;
  std::vector<Pick>& picks = next.picks;
  picks.reserve(running_.size() + 1);
  int32_t rows_left = config_.rows;
  int32_t share = std::min(decode_share(), rows_left);
  // Oldest first. has_block_for_next preempts only those behind, which are not picked yet.
  for (auto at = running_.begin(); at != running_.end() && share > 0; ++at) {
    Sequence& sequence = *at->second;
    if (sequence.left || sequence.drafting || sequence.complete_when_done() || prefills(sequence) ||
        !sequence.may_join(lane))
      continue;
    if (!has_block_for_next(sequence, in_flight)) {
      // A pipeline is not emptied for one who is to wait anyway.
      const bool nobody = config_.lanes > 1 && victim_younger_than(sequence) == nullptr;
      if (in_flight != InFlight::nothing && !nobody) return {.picks = {}, .must_preempt = true};
      continue;
    }
    picks.push_back(Pick{.sequence = &sequence, .rows = 1});
    --share;
    --rows_left;
  }
  if (in_flight != InFlight::own_lane) add_drafts(budget, speculation, rows_left, picks);
  const int32_t decode_rows = config_.rows - rows_left;
  const int32_t prompt_rows = budget.prompt_rows(decode_rows);
  pick_prompts(now, std::min(rows_left, prompt_rows), picks);
  return next;
}

void Schedule::add_drafts(const StepBudget& budget, const Speculation& speculation,
                          int32_t& rows_left, std::vector<Pick>& picks) {
  const double cost = budget.extra_row_cost(static_cast<int32_t>(picks.size()));
  for (Pick& pick : picks) {
    Sequence& s = *pick.sequence;
    if (s.flights > 0) continue;  // a chunk of its prompt still runs in another lane
    int32_t drafts = speculation.drafts(s.lookup.match().length, s.drawing(), cost);
    drafts = std::min({drafts, s.size_max - 1 - s.size(), rows_left});
    if (drafts <= 0) continue;
    // A guess takes a block only if one is to be had.
    const auto held = [&] { return static_cast<int32_t>(s.blocks.size()) * kBlockPositions; };
    if (s.planned + 1 + drafts > held()) books_.grow(s);
    pick.drafts = std::clamp(held() - s.planned - 1, 0, drafts);
    pick.rows += pick.drafts;
    rows_left -= pick.drafts;
  }
}

bool Schedule::wants_drafts(const StepBudget& budget, const Speculation& speculation,
                            int32_t lane) const {
  const double cost = budget.extra_row_cost(static_cast<int32_t>(running_.size()));
  return std::ranges::any_of(running_, [&](const auto& entry) {
    const Sequence& s = *entry.second;
    return !s.left && s.size_planned() < s.size_max && s.may_join(lane) &&
           speculation.drafts(s.lookup.match().length, s.drawing(), cost) > 0;
  });
}

void Schedule::pick_prompts(Time now, int32_t rows, std::vector<Pick>& picks) {
  const auto lengthy = [](const Sequence& s) { return !s.left && prefills(s) && had_its_turn(s); };
  const bool any_lengthy =
      std::ranges::any_of(running_, [&](const auto& entry) { return lengthy(*entry.second); });
  // A quarter is theirs; of a room that cannot be divided, every fourth.
  int32_t reserve = 0;
  if (any_lengthy) {
    reserve = rows >= 2 * kPromptRowsUnit
                  ? std::max(rows / 4 / kPromptRowsUnit, 1) * kPromptRowsUnit
                  : (++narrow_steps_ % 4 == 0 ? rows : 0);
  }
  Room room{.rows = rows - reserve};
  for (auto at = running_.begin(); at != running_.end() && room.rows > 0; ++at) {
    Sequence& s = *at->second;
    if (!s.left && prefills(s) && !had_its_turn(s)) pick_chunk(s, room, picks);
  }
  admit(now, room, picks);
  room.rows += reserve;
  for (auto at = running_.begin(); at != running_.end() && room.rows > 0; ++at) {
    if (lengthy(*at->second)) pick_chunk(*at->second, room, picks);
  }
}

int32_t Schedule::chunk(const Sequence& sequence, const Room& room) {
  const int32_t wanted = rows_possible(sequence);
  if (wanted <= room.rows) return wanted;
  const int32_t whole = room.rows - room.rows % kPromptRowsUnit;
  return whole == 0 && room.first ? room.rows : whole;
}

void Schedule::pick_chunk(Sequence& sequence, Room& room, std::vector<Pick>& picks) {
  const int32_t rows = chunk(sequence, room);
  if (rows == 0) return;
  picks.push_back(Pick{.sequence = &sequence, .rows = rows, .feeds_prompt = true});
  room.rows -= rows;
  room.first = false;
}

bool Schedule::has_block_for_next(Sequence& sequence, InFlight in_flight) {
  if (blocks_for(sequence.planned + 1) <= static_cast<int32_t>(sequence.blocks.size())) return true;
  while (!books_.grow(sequence)) {
    if (in_flight != InFlight::nothing) return false;
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
  TROUPE_CHECK(victim.flights == 0, victim.flights);
  running_.erase(victim.order);
  books_.release(victim);
  free_slot(victim);
  ++victim.preemptions;
  ++preemptions_;
  waiting_.emplace(victim.order, &victim);
}

void Schedule::admit(Time now, Room& room, std::vector<Pick>& picks) {
  for (auto at = waiting_.begin(); at != waiting_.end() && room.rows > 0 && !slots_free_.empty();) {
    if (!room.first && room.rows < kPromptRowsUnit) break;
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
    sequence.lookup.extend(sequence.tokens);  // not while it waits: thousands may
    sequence.slot = slots_free_.back();
    slots_free_.pop_back();
    if (sequence.preemptions == 0) {
      sequence.admitted = now;
      sequence.cached_tokens = sequence.computed;
    }
    pick_chunk(sequence, room, picks);
    running_.emplace(at->first, &sequence);
    at = waiting_.erase(at);
  }
}

void Schedule::landed(Sequence& sequence, const Slice& slice, const SliceOut& out) {
  --sequence.flights;
  if (slice.out == Out::sample) --sequence.pending;
  if (slice.pos0 == sequence.prompt_from) books_.copied(sequence);
  if (sequence.left) return;  // surplus: what it computed is nobody's
  sequence.computed = slice.pos0 + slice.n_rows;
  if (slice.n_draft > 0) {
    // A draft behind a stop id may have been right, and is no part of the answer.
    sequence.computed = sequence.planned =
        std::min(slice.pos0 + slice.out_row0 + out.n_tokens, sequence.size());
    sequence.drafting = false;
  }
  books_.publish(sequence);
}

int64_t Schedule::rows_queued() const {
  int64_t rows = 0;
  for (const auto& [order, sequence] : waiting_) rows += sequence->size();
  for (const auto& [order, sequence] : running_) {
    const int32_t missing = sequence->size() - sequence->computed;
    if (!sequence->left && missing > 1) rows += missing;
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
    TROUPE_CHECK(sequence->flights >= sequence->pending && sequence->pending >= 0);
    if (!sequence->left) {
      TROUPE_CHECK(sequence->computed < sequence->size(), sequence->computed, sequence->size());
      TROUPE_CHECK(sequence->computed <= sequence->planned, sequence->computed);
      TROUPE_CHECK(sequence->flights > 0 || sequence->computed == sequence->planned);
      TROUPE_CHECK(sequence->drafting || sequence->planned <= sequence->size_planned(),
                   sequence->planned);
    }
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
    TROUPE_CHECK(sequence->computed == 0 && sequence->flights == 0, sequence->computed);
  }
  books_.check(holders);
}

void Schedule::check_pinned(const StepPlan& plan) const {
  for (const Slice& slice : plan.slices) {
    const auto holder = std::ranges::find_if(
        running_, [&](const auto& entry) { return entry.second->slot->value == slice.slot; });
    TROUPE_CHECK(holder != running_.end(), slice.slot);
    const Sequence& sequence = *holder->second;
    TROUPE_CHECK(sequence.flights > 0, slice.slot);
    for (int32_t i = 0; i < slice.n_blk; ++i) {
      const int32_t block = plan.blocks[static_cast<size_t>(slice.blk_off + i)];
      TROUPE_CHECK(sequence.blocks[static_cast<size_t>(i)].value == block, slice.slot, block);
    }
  }
  for (const BlockCopy& copy : plan.copy)
    TROUPE_CHECK(books_.pool().holders(BlockId(copy.src)) > 0, copy.src);
}

}  // namespace troupe
