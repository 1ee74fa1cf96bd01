#include "net/answer_record.h"

#include "config/limits.h"
#include "net/answer_template.h"

namespace troupe {

void AnswerRecord::add(std::string_view bytes) {
  if (forgotten_) return;
  const auto size = static_cast<int64_t>(bytes.size());
  if (static_cast<int64_t>(bytes_.size()) + size > kCachedResponseBytesMax ||
      total_->now + size > kAnswerRecordsBytesMax)
    return forget();
  bytes_ += bytes;
  total_->now += size;
}

void AnswerRecord::forget() {
  forgotten_ = true;
  total_->now -= static_cast<int64_t>(bytes_.size());
  bytes_ = {};
}

void AnswerRecord::keep(RequestId id, Finish ending, const Timings& timings) {
  if (forgotten_) return;
  if (auto made = make_answer_template(bytes_, id, ending, timings))
    cache_->put(key_, std::move(*made));
  forget();
}

}  // namespace troupe
