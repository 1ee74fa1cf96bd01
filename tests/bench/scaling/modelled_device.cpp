#include "tests/bench/scaling/modelled_device.h"

#include <algorithm>

#include "config/check.h"
#include "config/mix.h"

namespace troupe::scaling {

namespace {
// Below are single bytes, which would give broken characters, and the end token.
constexpr int32_t kFirstWord = 257;
}  // namespace

Time ModelledDevice::submit(Time now, const StepPlan& plan) {
  const PlanTime time = timer_(plan);
  TROUPE_CHECK(!time.stages.empty());
  stage_free_.resize(time.stages.size());
  Time at = std::max(now, lane_done_[plan.key.lane]);
  for (size_t stage = 0; stage < time.stages.size(); ++stage) {
    if (stage > 0) at += time.hop;
    at = std::max(at, stage_free_[stage]) + time.stages[stage];
    stage_free_[stage] = at;
    busy_ += time.stages[stage];
  }
  lane_done_[plan.key.lane] = at;
  return at;
}

int32_t ModelledDevice::draw(int32_t slot, int32_t position) const {
  const auto words = static_cast<uint64_t>(vocab_ - kFirstWord);
  const uint64_t hash = mix64(seeds_.at(slot), static_cast<uint64_t>(position));
  return kFirstWord + static_cast<int32_t>(hash % words);
}

StepOutput ModelledDevice::answer(const StepPlan& plan) {
  for (int32_t slot : plan.close) seeds_.erase(slot);
  for (const SlotOpen& open : plan.open)
    seeds_[open.slot] = mix64(open.seed, static_cast<uint64_t>(open.choice));
  StepOutput output{.key = plan.key, .plan_hash = plan.hash};
  for (const Slice& slice : plan.slices) {
    SliceOut out{.slot = slice.slot, .tok_off = static_cast<int32_t>(output.tokens.size())};
    if (slice.out == Out::sample && slice.out_row0 < slice.n_rows) {
      int32_t row = slice.out_row0;
      for (bool more = true; more; ++row) {
        const int32_t token = draw(slice.slot, slice.pos0 + row + 1);
        output.tokens.push_back(token);
        output.logprob.push_back(-1);
        more = next_row_counts(plan, slice, row, token);
      }
      out.n_tokens = row - slice.out_row0;
    }
    output.slices.push_back(out);
  }
  return output;
}

}  // namespace troupe::scaling
