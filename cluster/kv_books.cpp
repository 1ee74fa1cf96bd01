#include "cluster/kv_books.h"

#include <algorithm>
#include <span>

#include "config/check.h"
#include "model/step.h"

namespace troupe {

int32_t blocks_for(int32_t positions) {
  return (positions + kBlockPositions - 1) / kBlockPositions;
}

KvBooks::KvBooks(int32_t blocks, const Digest& numerics_id)
    : numerics_id_(numerics_id), pool_(blocks), index_(blocks) {}

void KvBooks::extend_chain(Sequence& sequence, int32_t blocks) const {
  while (static_cast<int32_t>(sequence.chain.size()) < blocks) {
    const auto i = sequence.chain.size();
    if (i == 0) {
      sequence.root =
          PrefixIndex::root(numerics_id_, sequence.request.adapter, sequence.request.tenant);
    }
    const Digest& before = i == 0 ? sequence.root : sequence.chain.back();
    const auto tokens =
        std::span<const TokenId>(sequence.tokens).subspan(i * kBlockPositions, kBlockPositions);
    sequence.chain.push_back(PrefixIndex::extend(before, tokens));
  }
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
  for (BlockId block : shared) pool_.retain(block);
  const int32_t fresh = blocks_for(positions) - static_cast<int32_t>(shared.size());
  if (pool_.available() < fresh + spare || !make_room(fresh)) {
    for (auto block = shared.rbegin(); block != shared.rend(); ++block) pool_.release(*block);
    return Admission::full;
  }
  sequence.published = static_cast<int32_t>(shared.size());
  sequence.computed = sequence.planned = sequence.prompt_from =
      sequence.published * kBlockPositions;
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
  if (sequence.published >= full) return;
  extend_chain(sequence, full);
  for (; sequence.published < full; ++sequence.published) {
    const auto i = static_cast<size_t>(sequence.published);
    if (index_.insert(sequence.chain[i], sequence.blocks[i])) pool_.keep(sequence.blocks[i]);
  }
  if (sequence.published >= sequence.promised_to) withdraw(sequence);
}

void KvBooks::release(Sequence& sequence) {
  withdraw(sequence);
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
  while (pool_.free() < count) index_.erase(*pool_.evict());
  return true;
}

void KvBooks::promise(Sequence& sequence) {
  sequence.promised_from = sequence.published;
  sequence.promised_to = std::max(sequence.published, sequence.size() / kBlockPositions);
  extend_chain(sequence, sequence.promised_to);
  for (int32_t i = sequence.promised_from; i < sequence.promised_to; ++i) {
    ++promised_[sequence.chain[static_cast<size_t>(i)]];
  }
}

void KvBooks::withdraw(Sequence& sequence) {
  for (int32_t i = sequence.promised_from; i < sequence.promised_to; ++i) {
    auto at = promised_.find(sequence.chain[static_cast<size_t>(i)]);
    TROUPE_CHECK(at != promised_.end());
    if (--at->second == 0) promised_.erase(at);
  }
  sequence.promised_from = sequence.promised_to = 0;
}

void KvBooks::check(const std::vector<const Sequence*>& holders) const {
  pool_.check();
  index_.check();
  std::vector<int32_t> held(static_cast<size_t>(pool_.total()), 0);
  for (const Sequence* sequence : holders) {
    const auto blocks = static_cast<int32_t>(sequence->blocks.size());
    TROUPE_CHECK(blocks_for(sequence->planned) <= blocks, sequence->planned, blocks);
    TROUPE_CHECK(sequence->published <= blocks, sequence->published, blocks);
    for (BlockId block : sequence->blocks) ++held[static_cast<size_t>(block.value)];
  }
  size_t kept = 0;
  for (int32_t i = 0; i < pool_.total(); ++i) {
    TROUPE_CHECK(pool_.holders(BlockId(i)) == held[static_cast<size_t>(i)], i);
    if (index_.holds(BlockId(i))) ++kept;
  }
  TROUPE_CHECK(kept == index_.size(), kept, index_.size());
  TROUPE_CHECK(static_cast<int32_t>(index_.size()) >= pool_.cached(), index_.size(),
               pool_.cached());
}

}  // namespace troupe
