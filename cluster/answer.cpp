#include "cluster/answer.h"

#include <fmt/format.h>

#include <algorithm>

namespace troupe {

namespace {

bool within(int64_t offset, int64_t count, size_t size) {
  return offset >= 0 && count >= 0 && offset + count <= static_cast<int64_t>(size);
}

bool answers(const StepPlan& plan, const Slice& asked, const SliceOut& got,
             const StepOutput& output, int32_t vocab) {
  const int32_t wanted = asked.out == Out::none ? 0 : asked.n_rows - asked.out_row0;
  const int32_t rows = asked.out == Out::sample ? got.n_tokens : wanted;
  if (got.slot != asked.slot || !within(got.top_off, int64_t{rows} * got.n_top, output.top.size()))
    return false;
  if (asked.out == Out::score) return within(got.score_off, rows, output.scores.size());
  if (asked.out != Out::sample) return true;
  if (rows < wanted - asked.n_draft || rows > wanted ||
      !within(got.tok_off, rows, output.tokens.size()) ||
      !within(got.tok_off, rows, output.logprob.size())) {
    return false;
  }
  for (int32_t i = 0; i < rows; ++i) {
    const int32_t token = output.tokens[static_cast<size_t>(got.tok_off + i)];
    if (token < 0 || token >= vocab) return false;
    // All but the last one are drafts that were right, and the last one is not.
    const bool more = next_row_counts(plan, asked, asked.out_row0 + i, token);
    if (asked.n_draft > 0 && more != (i + 1 < rows)) return false;
  }
  return true;
}

LogProbs logprobs_of(float logprob, const StepOutput& output, int32_t offset, int32_t count) {
  const auto first = output.top.begin() + offset;
  return LogProbs{.logprob = logprob, .top = {first, first + count}};
}

bool is_stop(const Sequence& sequence, TokenId token) {
  const Enqueue& r = sequence.request;
  return !r.sampling.ignore_eos && sequence.answer_size() >= r.sampling.min_new &&
         std::ranges::find(r.stop_ids, token) != r.stop_ids.end();
}

TokenChunk make_chunk(const Sequence& sequence, Time now) {
  TokenChunk chunk{.key = sequence.request.key,
                   .attempt = sequence.request.attempt,
                   .seq = static_cast<uint64_t>(sequence.answer_size())};
  if (!sequence.chunk_sent) {
    chunk.cached_tokens = sequence.cached_tokens;
    chunk.queued = sequence.admitted - sequence.arrived;
    chunk.prefill = now - sequence.admitted;
  }
  return chunk;
}

}  // namespace

Result<void> check_output(const StepPlan& plan, const StepOutput& output, int32_t vocab) {
  if (output.slices.size() != plan.slices.size()) {
    return fail(ErrorCode::internal,
                fmt::format("Step {} answered {} sequences instead of {}: the group starts anew.",
                            plan.key.step, output.slices.size(), plan.slices.size()));
  }
  for (size_t i = 0; i < plan.slices.size(); ++i) {
    if (output.slices[i].flags & kNonfinite) {
      return fail(ErrorCode::internal,
                  fmt::format("Step {} gave logits that are not finite: the group starts anew.",
                              plan.key.step));
    }
    if (!answers(plan, plan.slices[i], output.slices[i], output, vocab)) {
      return fail(
          ErrorCode::internal,
          fmt::format(
              "Step {} gave an output that does not answer its plan: the group starts anew.",
              plan.key.step));
    }
  }
  return {};
}

Finish finish_of(const Sequence& sequence) {
  return !sequence.scoring() && sequence.size() >= sequence.size_max ? Finish::length
                                                                     : Finish::none;
}

TokenChunk apply_output(Sequence& sequence, const StepPlan& plan, const StepOutput& output,
                        size_t i, Time now) {
  const Slice& asked = plan.slices[i];
  const SliceOut& got = output.slices[i];
  TokenChunk chunk = make_chunk(sequence, now);
  if (asked.out == Out::score) {
    for (int32_t row = 0; row < asked.n_rows - asked.out_row0; ++row) {
      sequence.prompt_logprobs.push_back(
          logprobs_of(output.scores[static_cast<size_t>(got.score_off + row)], output,
                      got.top_off + row * got.n_top, got.n_top));
    }
  } else if (asked.out == Out::sample) {
    for (int32_t i = 0; i < got.n_tokens && chunk.finish == Finish::none; ++i) {
      const auto at = static_cast<size_t>(got.tok_off + i);
      const TokenId token(output.tokens[at]);
      if (is_stop(sequence, token)) {
        chunk.finish = Finish::stop;
        break;
      }
      sequence.tokens.push_back(token);
      chunk.tokens.push_back(token);
      if (sequence.request.sampling.n_logprobs >= 0) {
        chunk.logprobs.push_back(
            logprobs_of(output.logprob[at], output, got.top_off + i * got.n_top, got.n_top));
      }
      chunk.finish = finish_of(sequence);
    }
  }
  if (chunk.finish == Finish::none) chunk.finish = finish_of(sequence);
  if (!chunk.tokens.empty() || chunk.finish != Finish::none) {
    if (!sequence.chunk_sent) chunk.prompt_logprobs = sequence.prompt_logprobs;
    sequence.chunk_sent = true;
  }
  return chunk;
}

}  // namespace troupe
