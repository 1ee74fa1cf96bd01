#include "cluster/intake.h"

#include <fmt/format.h>

#include <algorithm>

namespace troupe {

namespace {

Result<void> validate(const Enqueue& request, const IntakeLimits& limits) {
  const auto size = request.prompt.size() + request.accepted.size();
  if (request.prompt.empty()) {
    return fail(ErrorCode::invalid_argument, "The prompt has no token: send at least one.",
                "prompt");
  }
  if (size >= static_cast<size_t>(limits.context)) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("The prompt and the answer so far have {} tokens, but the model's "
                            "context holds {} with "
                            "the answer: shorten the prompt.",
                            size, limits.context),
                "prompt");
  }
  const auto outside = [&](TokenId token) {
    return token.value < 0 || token.value >= limits.vocab;
  };
  if (std::ranges::any_of(request.prompt, outside) ||
      std::ranges::any_of(request.accepted, outside)) {
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("A prompt token lies outside the vocabulary of {}: use this model's tokenizer.",
                    limits.vocab),
        "prompt");
  }
  if (request.max_new < 0) {
    return fail(ErrorCode::invalid_argument, "The answer's length may not be negative.",
                "max_tokens");
  }
  if (request.score_prompt && !request.accepted.empty()) {
    return fail(ErrorCode::invalid_argument,
                "A prompt can be scored only before its answer begins: send the request again.",
                "echo");
  }
  return {};
}

}  // namespace

Result<Sequence> take_in(Enqueue request, RouterId router, uint64_t arrival, Time now,
                         const IntakeLimits& limits) {
  if (auto valid = validate(request, limits); !valid) return std::unexpected(valid.error());
  Sequence sequence;
  sequence.router = router;
  sequence.order = SequenceOrder{-int64_t{request.priority}, arrival};
  sequence.arrived = sequence.admitted = now;
  sequence.deadline = now + request.deadline_left;
  sequence.prompt_size = static_cast<int32_t>(request.prompt.size());
  sequence.tokens = std::move(request.prompt);
  sequence.tokens.insert(sequence.tokens.end(), request.accepted.begin(), request.accepted.end());
  sequence.size_max = static_cast<int32_t>(
      std::min(int64_t{sequence.prompt_size} + request.max_new, int64_t{limits.context}));
  request.prompt.clear();
  request.accepted.clear();
  sequence.request = std::move(request);
  const int32_t positions = std::max(sequence.size(), sequence.positions_max());
  if (positions > limits.positions_max) {
    return fail(ErrorCode::too_large,
                fmt::format("Prompt and answer need {} positions, but the group's KV memory holds "
                            "{}: ask for fewer "
                            "tokens or give the model more kv_memory.",
                            positions, limits.positions_max),
                "max_tokens");
  }
  return sequence;
}

bool is_newer(const AttemptId& a, const AttemptId& b) {
  if (a.owner != b.owner) return a.owner > b.owner;
  return a.boot == b.boot && a.counter > b.counter;
}

}  // namespace troupe
