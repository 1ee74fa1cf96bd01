#include "model/native/head_gather.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "config/limits.h"

namespace troupe::native {

namespace {

using Of = RowNeeds::Of;

constexpr int32_t kIdsPerBlock = static_cast<int32_t>(kLogprobBlock);

template <class Value>
void put(std::byte*& to, const Value& value) {
  std::memcpy(to, &value, sizeof value);
  to += sizeof value;
}
template <class Value>
Value get(const std::byte*& from) {
  Value value;
  std::memcpy(&value, from, sizeof value);
  from += sizeof value;
  return value;
}

}  // namespace

size_t HeadGather::lay_out(const RowRange& ids) {
  const auto count = static_cast<int32_t>(ids.size());
  size_t size = needs_.size() * sizeof(Head::Best);
  parts_.clear();
  for (const RowNeeds& needs : needs_) {
    Part& part = parts_.emplace_back();
    part.offset = size;
    if (needs.of != Of::summary) continue;
    part.top = std::min(needs.top, count);
    part.sums = needs.sums ? (count + kIdsPerBlock - 1) / kIdsPerBlock : 0;
    part.scored = needs.scored >= ids.begin && needs.scored < ids.end;
    size += static_cast<size_t>(part.top) * sizeof(TokenLogprob) +
            static_cast<size_t>(part.sums) * sizeof(Sum) + (part.scored ? sizeof(float) : 0);
  }
  return size;
}

/// The largest logit of a row, and what its part says.
void HeadGather::sum_up(const Head& head, const RowRange& ids, int32_t row, std::byte* to) const {
  std::byte* best = to + static_cast<size_t>(row) * sizeof(Head::Best);
  put(best, head.best_own(row));
  const Part& part = parts_[static_cast<size_t>(row)];
  const RowNeeds& needs = needs_[static_cast<size_t>(row)];
  if (needs.of != Of::summary) return;
  const auto logits = head.logits(row).first(static_cast<size_t>(ids.size()));
  std::byte* at = to + part.offset;
  std::array<TokenLogprob, kSummaryTopMax + 1> top;
  largest_logits(logits, static_cast<int32_t>(ids.begin),
                 std::span(top).first(static_cast<size_t>(part.top)));
  for (int32_t i = 0; i < part.top; ++i) put(at, top[static_cast<size_t>(i)]);
  for (int32_t i = 0; i < part.sums; ++i) {
    const auto begin = static_cast<size_t>(i) * kLogprobBlock;
    BlockSum sum;
    block_sums(logits.subspan(begin, std::min(kLogprobBlock, logits.size() - begin)), {&sum, 1});
    put(at, Sum{sum.max, sum.sum});
  }
  if (part.scored) put(at, logits[static_cast<size_t>(needs.scored - ids.begin)]);
}

void HeadGather::add(const Part& part, const std::byte* from, Known& known) const {
  for (int32_t i = 0; i < part.top; ++i) known.top.push_back(get<TokenLogprob>(from));
  for (int32_t i = 0; i < part.sums; ++i) {
    const auto sum = get<Sum>(from);
    known.blocks.push_back({.max = sum.max, .sum = sum.sum});
  }
  if (part.scored) known.scored = get<float>(from);
}

Result<void> HeadGather::give(Head& head) {
  const RowRange& own = vocab_[static_cast<size_t>(group_->tp())];
  if (own.size() == 0) return {};
  message_.resize(lay_out(own));
  pool_->run(static_cast<int>(needs_.size()),
             [&](int row, int) { sum_up(head, own, row, message_.data()); });
  if (auto ok = group_->send_in_stage(message_, 0); !ok) return ok;
  for (size_t row = 0; row < needs_.size(); ++row)
    if (needs_[row].of == Of::all)
      if (auto ok = group_->send_in_stage(
              std::as_writable_bytes(head.logits_of(static_cast<int32_t>(row), own)), 0);
          !ok)
        return ok;
  return {};
}

Result<void> HeadGather::take(Head& head) {
  known_.resize(std::max(known_.size(), needs_.size()));
  for (Known& known : known_) {
    known.top.clear();
    known.blocks.clear();
  }
  // In order of ids: blocks are joined so, and ties of the largest go to the first.
  for (int32_t tp = 0; tp < group_->tensor_parallel(); ++tp) {
    const RowRange& ids = vocab_[static_cast<size_t>(tp)];
    if (ids.size() == 0) continue;
    message_.resize(lay_out(ids));
    if (tp == 0)
      pool_->run(static_cast<int>(needs_.size()),
                 [&](int row, int) { sum_up(head, ids, row, message_.data()); });
    else if (auto ok = group_->receive_in_stage(message_, tp); !ok)
      return ok;
    const std::byte* bests = message_.data();
    for (size_t row = 0; row < needs_.size(); ++row) {
      const auto best = get<Head::Best>(bests);
      if (tp > 0) head.take_best(static_cast<int32_t>(row), best);
      add(parts_[row], message_.data() + parts_[row].offset, known_[row]);
    }
    for (size_t row = 0; tp > 0 && row < needs_.size(); ++row)
      if (needs_[row].of == Of::all)
        if (auto ok = group_->receive_in_stage(
                std::as_writable_bytes(head.logits_of(static_cast<int32_t>(row), ids)), tp);
            !ok)
          return ok;
  }
  summaries_.clear();
  for (size_t row = 0; row < needs_.size(); ++row) {
    keep_largest(known_[row].top, needs_[row].top);
    summaries_.push_back({known_[row].top, known_[row].blocks, known_[row].scored});
  }
  return {};
}

}  // namespace troupe::native
