#include "model/plan_relay.h"

#include <algorithm>
#include <chrono>

#include "config/check.h"
#include "model/byte_cursor.h"
#include "model/step_bytes.h"

namespace troupe {

namespace {

std::unexpected<Error> damaged() {
  return fail(ErrorCode::data_loss,
              "A plan that came from another rank has parts beyond its end: the generation ends "
              "here; look for ranks of different builds.");
}

}  // namespace

Result<void> PlanRelay::give(const StepPlan& plan, Duration time) {
  group_->begin_step(time);
  to_bytes(plan, plan_bytes_);
  frame_.clear();
  frame_.append_number(int64_t{std::chrono::nanoseconds(time).count()});
  frame_.append_number(uint64_t{plan_bytes_.size()});
  frame_.append(plan_bytes_);
  frame_.append(news_);
  frame_.seal();
  news_.clear();
  return group_->tensor_parallel() > 1 ? group_->share_frame(frame_) : Result<void>{};
}

Result<PlanRelay::Taken> PlanRelay::take(Duration idle) {
  group_->begin_step(idle);
  if (group_->tp() == 0)
    if (auto ok = group_->receive_frame_on(frame_); !ok) return std::unexpected(ok.error());
  if (group_->tensor_parallel() > 1)
    if (auto ok = group_->share_frame(frame_); !ok) return std::unexpected(ok.error());
  ByteCursor cursor(frame_.contents());
  const auto nanoseconds = cursor.take<int64_t>();
  const auto size = cursor.take<uint64_t>();
  const auto plan = size ? cursor.take_bytes(*size) : std::nullopt;
  if (!nanoseconds || !plan) return damaged();
  if (auto ok = parse_step(*plan, plan_); !ok) return std::unexpected(ok.error());
  size_t count = 0;
  while (cursor.left() > 0) {
    const auto length = cursor.take<uint64_t>();
    const auto bytes = length ? cursor.take_bytes(*length) : std::nullopt;
    // A stage has at most one plan that is not answered, so no more can have been.
    if (!bytes || count == static_cast<size_t>(group_->stages())) return damaged();
    if (drawn_.size() == count) drawn_.emplace_back();
    if (auto ok = parse_step(*bytes, drawn_[count++]); !ok) return std::unexpected(ok.error());
  }
  const auto time = std::chrono::duration_cast<Duration>(
      std::chrono::nanoseconds(std::max<int64_t>(0, *nanoseconds)));
  group_->limit_step(time);
  return Taken{&plan_, std::span(drawn_).first(count), time};
}

Result<void> PlanRelay::pass_on() {
  return group_->tp() == 0 ? group_->send_frame_on(frame_) : Result<void>{};
}

Result<void> PlanRelay::answer(const StepOutput& output) {
  to_bytes(output, output_bytes_);
  TROUPE_CHECK(output_bytes_.size() <= answer_bytes_max(plan_), output_bytes_.size());
  answer_frame_.clear();
  answer_frame_.append(output_bytes_);
  answer_frame_.seal();
  return group_->send_answer(answer_frame_);
}

Result<void> PlanRelay::await_answer(StepOutput& output, Duration time) {
  if (auto ok = group_->receive_answer(answer_frame_, time); !ok) return ok;
  return parse_step(answer_frame_.contents(), output);
}

void PlanRelay::drew(const StepOutput& output) {
  keep_drawn(output, kept_);
  to_bytes(kept_, output_bytes_);
  const uint64_t length = output_bytes_.size();
  const auto* begin = reinterpret_cast<const std::byte*>(&length);
  news_.insert(news_.end(), begin, begin + sizeof length);
  news_.insert(news_.end(), output_bytes_.begin(), output_bytes_.end());
}

}  // namespace troupe
