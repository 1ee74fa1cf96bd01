#include "cluster/kv_books.h"

#include <algorithm>
#include <span>
#include <utility>

#include "config/check.h"
#include "config/limits.h"
#include "model/step.h"

namespace troupe {

namespace {

/// Positions of the block in which the prompt ends, 0 if it ends with a block.
int32_t end_size(const Sequence& sequence) { return sequence.prompt_size % kBlockPositions; }

}  // namespace

static_assert(PartialIndex::kTokensMax == kBlockPositions);

int32_t blocks_for(int32_t positions) {
  return (positions + kBlockPositions - 1) / kBlockPositions;
}

KvBooks::KvBooks(int32_t blocks, const Digest& numerics_id)
    : numerics_id_(numerics_id), pool_(blocks), index_(blocks), partials_(blocks) {}

void KvBooks::extend_chain(Sequence& sequence, int32_t blocks) const {
  if (sequence.root == Digest{}) {
    sequence.root =
        PrefixIndex::root(numerics_id_, sequence.request.adapter, sequence.request.tenant);
  }
  while (static_cast<int32_t>(sequence.chain.size()) < blocks) {
    const auto i = sequence.chain.size();
    const Digest& before = key_before(sequence, static_cast<int32_t>(i));
    const auto tokens =
        std::span<const TokenId>(sequence.tokens).subspan(i * kBlockPositions, kBlockPositions);
    sequence.chain.push_back(PrefixIndex::extend(before, tokens));
  }
}

const Digest& KvBooks::key_before(const Sequence& sequence, int32_t block) const {
  return block == 0 ? sequence.root : sequence.chain[static_cast<size_t>(block) - 1];
}

std::optional<PartialIndex::Match> KvBooks::match_inside(const Sequence& sequence, int32_t reusable,
                                                         int32_t shared) const {
  const int32_t from = shared * kBlockPositions;
  const int32_t count = std::min(reusable - from, kBlockPositions);
  if (count < kCopyRowsMin) return std::nullopt;
  const auto wanted = std::span<const TokenId>(sequence.tokens)
                          .subspan(static_cast<size_t>(from), static_cast<size_t>(count));
  const auto found = partials_.match(key_before(sequence, shared), wanted);
  return found && found->tokens >= kCopyRowsMin ? found : std::nullopt;
}

bool KvBooks::learn_end_key(Sequence& sequence) const {
  if (end_size(sequence) < kCopyRowsMin) return false;
  if (sequence.end_key == Digest{}) {
    const int32_t last = sequence.prompt_size / kBlockPositions;
    extend_chain(sequence, last);
    sequence.end_key = PrefixIndex::extend(key_before(sequence, last),
                                           std::span<const TokenId>(sequence.tokens)
                                               .subspan(static_cast<size_t>(last * kBlockPositions),
                                                        static_cast<size_t>(end_size(sequence))));
  }
  return true;
}

Admission KvBooks::admit(Sequence& sequence, int32_t positions, int32_t spare) {
  TROUPE_CHECK(sequence.blocks.empty() && positions >= sequence.size(), positions, sequence.size());
  const int32_t reusable = sequence.scoring() ? sequence.scored() : sequence.size() - 1;
  const int32_t shareable = reusable / kBlockPositions;
  extend_chain(sequence, shareable);
  const auto chain = std::span<const Digest>(sequence.chain).first(static_cast<size_t>(shareable));
  std::vector<BlockId> shared = index_.match(chain);
  if (shared.size() < chain.size() && promised_.contains(chain[shared.size()])) {
    return Admission::sharing;
  }
  auto inside = match_inside(sequence, reusable, static_cast<int32_t>(shared.size()));
  // A choice of the same request: its prompt is computed once.
  const bool end_next =
      static_cast<int32_t>(shared.size()) == sequence.prompt_size / kBlockPositions;
  if (!inside && end_next && !sequence.scoring() && learn_end_key(sequence) &&
      promised_.contains(sequence.end_key)) {
    return Admission::sharing;
  }
  for (BlockId block : shared) pool_.retain(block);
  if (inside) pool_.retain(inside->block);
  const int32_t fresh = blocks_for(positions) - static_cast<int32_t>(shared.size());
  // A source that nobody holds takes a block out of reach: without the room it is not worth it.
  if (inside && pool_.available() < fresh + spare) {
    pool_.release(inside->block);
    inside.reset();
  }
  if (pool_.available() < fresh + spare || !make_room(fresh)) {
    if (inside) pool_.release(inside->block);
    for (auto block = shared.rbegin(); block != shared.rend(); ++block) pool_.release(*block);
    return Admission::full;
  }
  sequence.published = static_cast<int32_t>(shared.size());
  sequence.computed = sequence.planned = sequence.prompt_from =
      sequence.published * kBlockPositions + (inside ? inside->tokens : 0);
  if (inside) sequence.copy_from = inside->block;
  sequence.blocks = std::move(shared);
  const auto taken = pool_.take(fresh);
  sequence.blocks.insert(sequence.blocks.end(), taken->begin(), taken->end());
  queries_ += static_cast<uint64_t>(reusable);
  hits_ += static_cast<uint64_t>(sequence.computed);
  promise(sequence);
  return Admission::admitted;
}

bool KvBooks::grow(Sequence& sequence) {
  if (!make_room(1)) return false;
  sequence.blocks.push_back(pool_.take(1)->front());
  return true;
}

void KvBooks::publish(Sequence& sequence) {
  const int32_t full = sequence.computed / kBlockPositions;
  if (sequence.published < full) {
    extend_chain(sequence, full);
    for (; sequence.published < full; ++sequence.published) {
      const auto i = static_cast<size_t>(sequence.published);
      const BlockId block = sequence.blocks[i];
      partials_.erase(block);
      if (!index_.insert(sequence.chain[i], block)) continue;
      log_.added(mark_of(sequence.chain[i]));
      pool_.keep(block);
      partials_.add(
          key_before(sequence, sequence.published), block,
          std::span<const TokenId>(sequence.tokens).subspan(i * kBlockPositions, kBlockPositions));
    }
    if (sequence.published >= sequence.promised_to) withdraw(sequence);
  }
  list_end(sequence);
}

void KvBooks::list_end(Sequence& sequence) {
  const int32_t last = sequence.prompt_size / kBlockPositions;
  const int32_t count = end_size(sequence);
  if (sequence.computed < sequence.prompt_size) return;
  if (std::exchange(sequence.end_promised, false)) withdraw_one(sequence.end_key);
  // With many accepted tokens the block may be full already.
  if (sequence.end_listed || sequence.published != last || count < kCopyRowsMin) return;
  sequence.end_listed = true;
  partials_.add(
      key_before(sequence, last), sequence.blocks[static_cast<size_t>(last)],
      std::span<const TokenId>(sequence.tokens)
          .subspan(static_cast<size_t>(last * kBlockPositions), static_cast<size_t>(count)));
}

void KvBooks::copied(Sequence& sequence) {
  if (!sequence.copy_from) return;
  pool_.release(*sequence.copy_from);
  sequence.copy_from.reset();
}

void KvBooks::release(Sequence& sequence) {
  withdraw(sequence);
  if (std::exchange(sequence.end_promised, false)) withdraw_one(sequence.end_key);
  copied(sequence);
  // What is no full block goes back as it is, and may be written by anybody.
  for (auto i = static_cast<size_t>(sequence.published); i < sequence.blocks.size(); ++i) {
    partials_.erase(sequence.blocks[i]);
  }
  sequence.end_listed = false;
  // Tail first: what is evicted first is then the end of a prefix, and the beginning stays useful.
  for (auto block = sequence.blocks.rbegin(); block != sequence.blocks.rend(); ++block) {
    pool_.release(*block);
  }
  sequence.blocks.clear();
  sequence.computed = sequence.planned = 0;
  sequence.published = 0;
}

bool KvBooks::make_room(int32_t count) {
  if (pool_.available() < count) return false;
  while (pool_.free() < count) {
    const BlockId evicted = *pool_.evict();
    if (const auto key = index_.erase(evicted)) log_.evicted(mark_of(*key));
    partials_.erase(evicted);
  }
  return true;
}

void KvBooks::promise(Sequence& sequence) {
  sequence.promised_from = sequence.published;
  sequence.promised_to = std::max(sequence.published, sequence.size() / kBlockPositions);
  extend_chain(sequence, sequence.promised_to);
  for (int32_t i = sequence.promised_from; i < sequence.promised_to; ++i) {
    ++promised_[sequence.chain[static_cast<size_t>(i)]];
  }
  if (sequence.computed < sequence.prompt_size && learn_end_key(sequence)) {
    sequence.end_promised = true;
    ++promised_[sequence.end_key];
  }
}

void KvBooks::withdraw_one(const Digest& key) {
  const auto at = promised_.find(key);
  TROUPE_CHECK(at != promised_.end());
  if (--at->second == 0) promised_.erase(at);
}

void KvBooks::withdraw(Sequence& sequence) {
  for (int32_t i = sequence.promised_from; i < sequence.promised_to; ++i) {
    withdraw_one(sequence.chain[static_cast<size_t>(i)]);
  }
  sequence.promised_from = sequence.promised_to = 0;
}

void KvBooks::check(const std::vector<const Sequence*>& holders) const {
  pool_.check();
  index_.check();
  partials_.check();
  std::vector<int32_t> held(static_cast<size_t>(pool_.total()), 0);
  for (const Sequence* sequence : holders) {
    const auto blocks = static_cast<int32_t>(sequence->blocks.size());
    TROUPE_CHECK(blocks_for(sequence->planned) <= blocks, sequence->planned, blocks);
    TROUPE_CHECK(sequence->published <= blocks, sequence->published, blocks);
    for (BlockId block : sequence->blocks) ++held[static_cast<size_t>(block.value)];
    if (sequence->copy_from) ++held[static_cast<size_t>(sequence->copy_from->value)];
  }
  size_t kept = 0;
  for (int32_t i = 0; i < pool_.total(); ++i) {
    TROUPE_CHECK(pool_.holders(BlockId(i)) == held[static_cast<size_t>(i)], i);
    if (index_.holds(BlockId(i))) ++kept;
    if (partials_.holds(BlockId(i))) {
      TROUPE_CHECK(index_.holds(BlockId(i)) || held[static_cast<size_t>(i)] > 0, i);
    }
  }
  TROUPE_CHECK(kept == index_.size(), kept, index_.size());
  TROUPE_CHECK(log_.size() <= index_.size(), log_.size(), index_.size());
  TROUPE_CHECK(
      log_.size() == index_.size() || pool_.total() > static_cast<int32_t>(kPrefixMarksMax),
      log_.size(), index_.size());
  TROUPE_CHECK(static_cast<int32_t>(index_.size()) >= pool_.cached(), index_.size(),
               pool_.cached());
}

}  // namespace troupe
