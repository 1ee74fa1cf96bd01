#include "model/text/merges.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "config/limits.h"

namespace troupe {

namespace {

struct Link {
  TokenId id;
  int32_t prev, next;  ///< -1: none
};

/// Per-thread working memory: encoding allocates nothing in the steady state.
struct Scratch {
  std::vector<Link> links;
  std::vector<uint64_t> heap;  ///< rank << 32 | position of the left symbol; smallest on top

  void trim() {
    if (links.capacity() > kMergeScratchKept) links = {};
    if (heap.capacity() > kMergeScratchKept) heap = {};
  }
};

}  // namespace

Merges::Merges(std::vector<Rule> rules) : rules_(std::move(rules)), ranks_(rules_.size()) {
  for (size_t rank = 0; rank < rules_.size(); ++rank)
    ranks_.set(static_cast<uint32_t>(rules_[rank].left.value),
               static_cast<uint32_t>(rules_[rank].right.value), static_cast<uint32_t>(rank));
}

void Merges::apply(std::vector<TokenId>& symbols) const {
  if (symbols.size() < 2) return;
  thread_local Scratch scratch;
  auto& links = scratch.links;
  auto& heap = scratch.heap;
  links.clear();
  heap.clear();
  const auto n = static_cast<int32_t>(symbols.size());
  for (int32_t i = 0; i < n; ++i)
    links.push_back({symbols[static_cast<size_t>(i)], i - 1, i + 1 < n ? i + 1 : -1});

  const auto at = [&](int32_t i) -> Link& { return links[static_cast<size_t>(i)]; };
  const auto rank_at = [&](int32_t left) {
    const Link& l = at(left);
    if (l.next < 0 || l.id.value < 0 || at(l.next).id.value < 0) return PairTable::kNone;
    return ranks_.find(static_cast<uint32_t>(l.id.value),
                       static_cast<uint32_t>(at(l.next).id.value));
  };
  const auto entry = [](uint32_t rank, int32_t left) {
    return (uint64_t{rank} << 32) | static_cast<uint32_t>(left);
  };
  const auto push = [&](int32_t left) {
    const uint32_t rank = rank_at(left);
    if (rank == PairTable::kNone) return;
    heap.push_back(entry(rank, left));
    std::push_heap(heap.begin(), heap.end(), std::greater<>{});
  };

  for (int32_t i = 0; i + 1 < n; ++i)
    if (const uint32_t rank = rank_at(i); rank != PairTable::kNone) heap.push_back(entry(rank, i));
  std::make_heap(heap.begin(), heap.end(), std::greater<>{});

  constexpr TokenId kDead{INT32_MIN};
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>{});
    const Rule& rule = rules_[heap.back() >> 32];
    const auto left = static_cast<int32_t>(heap.back() & UINT32_MAX);
    heap.pop_back();
    Link& l = at(left);
    // An entry is stale when one of its two symbols has merged since it was pushed.
    if (l.id != rule.left || l.next < 0 || at(l.next).id != rule.right) continue;
    Link& r = at(l.next);
    l.id = rule.result;
    r.id = kDead;
    l.next = r.next;
    if (l.next >= 0) at(l.next).prev = left;
    push(left);
    if (l.prev >= 0) push(l.prev);
  }

  symbols.clear();
  for (int32_t i = 0; i >= 0; i = at(i).next) symbols.push_back(at(i).id);
  scratch.trim();
}

}  // namespace troupe
