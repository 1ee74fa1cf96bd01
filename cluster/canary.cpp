#include "cluster/canary.h"

#include <utility>

#include "cluster/plan_builder.h"

namespace troupe {

StepPlan Canary::plan(const StepKey& key, std::vector<int32_t> close) const {
  if (token_) close.push_back(slot_);
  return build_canary(key, slot_, block_, std::move(close));
}

Result<void> Canary::judge(const StepOutput& output) {
  const int32_t token = output.tokens[static_cast<size_t>(output.slices[0].tok_off)];
  if (!token_) token_ = token;
  if (token == *token_) return {};
  return fail(ErrorCode::internal,
              "The canary step drew another token than before: the group's memory is damaged and "
              "it starts anew.");
}

}  // namespace troupe
