// A device for tests of the batcher: KV is a hash of the prefix at each position of each block, so
// a wrong block, position, token or order gives a wrong answer; and it refuses plans that break the
// rules of model/step.h.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "config/ids.h"
#include "config/mix.h"
#include "model/step.h"

namespace troupe::test {

inline uint64_t kv_after(uint64_t before, int32_t token) {
  return mix64(before, static_cast<uint64_t>(token));
}
/// What a model says. With `loop` it mostly repeats itself, so that drafts come true; what breaks
/// the loop depends on all tokens before.
struct Language {
  int32_t vocab = 0, loop = 0;
};
inline int32_t draw(uint64_t kv, int32_t position, Language words) {
  const uint64_t from =
      words.loop > 0 && kv % 8 != 0 ? mix64(static_cast<uint64_t>(position % words.loop)) : kv;
  return static_cast<int32_t>(from % static_cast<uint64_t>(words.vocab));
}
inline float score(uint64_t kv, int32_t token) {
  return -static_cast<float>(mix64(kv, static_cast<uint64_t>(token)) % 997);
}

/// What an answer must be: computed over the whole sequence at once, without blocks.
inline std::vector<TokenId> reference_answer(const std::vector<TokenId>& prompt, int32_t count,
                                             Language words,
                                             const std::vector<TokenId>& stops = {}) {
  uint64_t kv = 0;
  for (TokenId token : prompt) kv = kv_after(kv, token.value);
  std::vector<TokenId> answer;
  while (static_cast<int32_t>(answer.size()) < count) {
    const auto position = static_cast<int32_t>(prompt.size() + answer.size());
    const TokenId token(draw(kv, position, words));
    if (std::ranges::find(stops, token) != stops.end()) break;
    answer.push_back(token);
    kv = kv_after(kv, token.value);
  }
  return answer;
}

class PagedDevice {
 public:
  PagedDevice(int32_t blocks, int32_t slots, int32_t rows, Language words)
      : kv_(static_cast<size_t>(blocks * kBlockPositions), 0xdead),
        slots_(slots),
        rows_(rows),
        words_(words) {}

  StepOutput run(const StepPlan& plan) {
    REQUIRE(plan.key.step == last_step_ + 1);
    REQUIRE(plan.key.prev_hash == lanes_[plan.key.lane].hash);
    REQUIRE(plan.hash == hash_of(plan));
    last_step_ = plan.key.step;
    lanes_[plan.key.lane].hash = plan.hash;
    for (int32_t slot : plan.close) REQUIRE(open_.erase(slot) == 1);
    for (const SlotOpen& o : plan.open) {
      REQUIRE(o.slot >= 0);
      REQUIRE(o.slot < slots_);
      REQUIRE(open_.emplace(o.slot, o).second);
    }
    REQUIRE(plan.tokens.size() <= static_cast<size_t>(rows_));
    StepOutput output;
    output.key = plan.key;
    output.plan_hash = plan.hash;
    std::set<int32_t> seen;
    for (const BlockCopy& copy : plan.copy) {
      for (int32_t i = 0; i < kBlockPositions; ++i)
        kv_.at(static_cast<size_t>(copy.dst * kBlockPositions + i)) =
            kv_.at(static_cast<size_t>(copy.src * kBlockPositions + i));
    }
    for (const Slice& slice : plan.slices) {
      REQUIRE(open_.contains(slice.slot));
      REQUIRE(seen.insert(slice.slot).second);
      output.slices.push_back(run_slice(plan, slice, output));
    }
    std::vector<int32_t>& drawn = lanes_[plan.key.lane].drawn;
    drawn.clear();
    for (size_t i = 0; i < plan.slices.size(); ++i) {
      const SliceOut& o = output.slices[i];
      const bool can_be_named = o.n_tokens > 0 && plan.slices[i].n_draft == 0;
      drawn.push_back(can_be_named ? output.tokens.at(static_cast<size_t>(o.tok_off)) : -1);
    }
    return output;
  }

  const std::map<int32_t, SlotOpen>& open() const { return open_; }

 private:
  uint64_t& at(const StepPlan& plan, const Slice& slice, int32_t position) {
    const int32_t block =
        plan.blocks.at(static_cast<size_t>(slice.blk_off + position / kBlockPositions));
    return kv_.at(static_cast<size_t>(block * kBlockPositions + position % kBlockPositions));
  }

  int32_t token_of(const StepPlan& plan, const Slice& slice, int32_t row) const {
    const int32_t token = plan.tokens.at(static_cast<size_t>(slice.tok_off + row));
    if (token >= 0) return token;
    const int32_t named = lanes_.at(plan.key.lane).drawn.at(static_cast<size_t>(-1 - token));
    REQUIRE(named >= 0);
    return named;
  }

  SliceOut run_slice(const StepPlan& plan, const Slice& slice, StepOutput& output) {
    REQUIRE(slice.n_rows >= 1);
    if (slice.n_draft > 0) {
      REQUIRE(slice.out == Out::sample);
      REQUIRE(slice.out_row0 == slice.n_rows - 1 - slice.n_draft);
      for (int32_t row = 0; row < slice.n_rows; ++row)
        REQUIRE(plan.tokens.at(static_cast<size_t>(slice.tok_off + row)) >= 0);
    }
    REQUIRE(slice.n_blk == (slice.pos0 + slice.n_rows + kBlockPositions - 1) / kBlockPositions);
    const SlotOpen& open = open_.at(slice.slot);
    SliceOut out{.slot = slice.slot,
                 .tok_off = static_cast<int32_t>(output.tokens.size()),
                 .top_off = static_cast<int32_t>(output.top.size()),
                 .n_top = std::max(open.n_logprobs, 0),
                 .score_off = static_cast<int32_t>(output.scores.size())};
    bool counts = true;
    for (int32_t row = 0; row < slice.n_rows; ++row) {
      const int32_t position = slice.pos0 + row;
      const uint64_t before = position == 0 ? 0 : at(plan, slice, position - 1);
      const uint64_t kv = kv_after(before, token_of(plan, slice, row));
      at(plan, slice, position) = kv;
      if (slice.out == Out::none || row < slice.out_row0 || !counts) continue;
      if (slice.out == Out::sample) {
        output.tokens.push_back(draw(kv, position + 1, words_));
        output.logprob.push_back(score(kv, output.tokens.back()));
        ++out.n_tokens;
        if (slice.n_draft > 0) counts = next_row_counts(plan, slice, row, output.tokens.back());
      } else {
        output.scores.push_back(
            score(kv, plan.score.at(static_cast<size_t>(slice.score_off + row - slice.out_row0))));
      }
      for (int32_t i = 0; i < out.n_top; ++i) output.top.push_back(TokenLogprob{i, score(kv, i)});
    }
    return out;
  }

  std::vector<uint64_t> kv_;
  std::map<int32_t, SlotOpen> open_;
  struct Lane {
    uint64_t hash = 0;
    std::vector<int32_t> drawn;  ///< by slice of the step before; -1: none to refer to
  };
  std::map<uint32_t, Lane> lanes_;
  int32_t slots_, rows_;
  Language words_;
  uint64_t last_step_ = 0;
};

}  // namespace troupe::test
