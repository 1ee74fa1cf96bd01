#include "model/native/head_gather.h"

#include <span>

namespace troupe::native {

Result<void> HeadGather::give(Head& head, int32_t rows) {
  const RowRange& own = vocab_[static_cast<size_t>(group_->tp())];
  if (own.size() == 0) return {};
  bests_.clear();
  for (int32_t row = 0; row < rows; ++row) bests_.push_back(head.best_own(row));
  if (auto ok = group_->send_in_stage(std::as_writable_bytes(std::span(bests_)), 0); !ok) return ok;
  for (int32_t row : wanted_)
    if (auto ok = group_->send_in_stage(std::as_writable_bytes(head.logits_of(row, own)), 0); !ok)
      return ok;
  return {};
}

Result<void> HeadGather::take(Head& head, int32_t rows) {
  for (int32_t tp = 1; tp < group_->tensor_parallel(); ++tp) {
    const RowRange& ids = vocab_[static_cast<size_t>(tp)];
    if (ids.size() == 0) continue;
    bests_.resize(static_cast<size_t>(rows));
    if (auto ok = group_->receive_in_stage(std::as_writable_bytes(std::span(bests_)), tp); !ok)
      return ok;
    for (int32_t row = 0; row < rows; ++row) head.take_best(row, bests_[static_cast<size_t>(row)]);
    for (int32_t row : wanted_)
      if (auto ok = group_->receive_in_stage(std::as_writable_bytes(head.logits_of(row, ids)), tp);
          !ok)
        return ok;
  }
  return {};
}

}  // namespace troupe::native
