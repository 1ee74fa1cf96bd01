#include "net/answer_parts.h"

#include <algorithm>

#include "config/check.h"

namespace troupe {
namespace {

void add(Timings& sum, const Timings& part) {
  sum.queue = std::max(sum.queue, part.queue);
  sum.prefill = std::max(sum.prefill, part.prefill);
  sum.decode = std::max(sum.decode, part.decode);
  sum.ttft = std::min(sum.ttft, part.ttft);
  sum.prompt_tokens += part.prompt_tokens;
  sum.cached_tokens += part.cached_tokens;
  sum.generated_tokens += part.generated_tokens;
  sum.attempts = std::max(sum.attempts, part.attempts);
}

/// The dearer an outcome, the higher.
int cost(CacheOutcome outcome) {
  switch (outcome) {
    case CacheOutcome::hit_memory:
      return 0;
    case CacheOutcome::hit_disk:
      return 1;
    case CacheOutcome::hit_redis:
      return 2;
    case CacheOutcome::coalesced:
      return 3;
    case CacheOutcome::miss:
      return 4;
    case CacheOutcome::not_cacheable:
      return 5;
  }
  return 5;
}

}  // namespace

AnswerParts::AnswerParts(std::vector<AnswerPart> parts, int32_t choices)
    : parts_(std::move(parts)), choices_(choices) {
  TROUPE_CHECK(!parts_.empty() && choices >= 1, choices);
}

size_t AnswerParts::number_of(RequestId id) const {
  const auto found = std::ranges::find(parts_, id, &AnswerPart::id);
  TROUPE_CHECK(found != parts_.end());
  return static_cast<size_t>(found - parts_.begin());
}

void AnswerParts::join(router_out::Deliver& delivery) {
  const size_t number = number_of(delivery.id);
  AnswerPart& part = parts_[number];
  TROUPE_CHECK(!part.ended, number);
  if (part.cache != CacheOutcome::not_cacheable) part.cache = delivery.cache;
  part.ended = delivery.last;
  if (parts_.size() == 1) return;
  for (router_out::Piece& piece : delivery.pieces)
    piece.choice += static_cast<int32_t>(number) * choices_;
  delivery.id = parts_.front().id;
  if (!delivery.last) return;
  keep_ &= delivery.keep;
  if (ended_++ == 0)
    timings_ = delivery.timings;
  else
    add(timings_, delivery.timings);
  delivery.last = ended_ == parts_.size();
  delivery.keep = delivery.last && keep_;
  delivery.timings = timings_;
}

std::optional<CacheOutcome> AnswerParts::cache() const {
  CacheOutcome dearest = CacheOutcome::hit_memory;
  for (const AnswerPart& part : parts_) {
    if (!part.cache) return std::nullopt;
    if (cost(*part.cache) > cost(dearest)) dearest = *part.cache;
  }
  return dearest;
}

std::vector<RequestId> AnswerParts::open() const {
  std::vector<RequestId> ids;
  for (const AnswerPart& part : parts_)
    if (!part.ended) ids.push_back(part.id);
  return ids;
}

}  // namespace troupe
