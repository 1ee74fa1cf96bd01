// What routers ask of a group, and who comes and goes by it.
#include <fmt/format.h>

#include <utility>

#include "cluster/answer.h"
#include "cluster/batcher_state.h"
#include "cluster/intake.h"

namespace troupe {

void Batcher::State::on(Time now, const batcher_in::FromRouter& in, BatcherEffects& out) {
  std::visit([&](const auto& message) { take(now, in.router, message, out); }, in.message);
}

void Batcher::State::on(Time now, const batcher_in::RouterJoined& in, BatcherEffects& out) {
  forget(in.router);
  link(now, in.router, out);
}

void Batcher::State::on(Time, const batcher_in::RouterLost& in, BatcherEffects&) {
  forget(in.router);
  routers.erase(in.router);
}

void Batcher::State::forget(RouterId router) {
  for (const SequenceKey& key : sequences.of_router(router)) sequences.leave(key, schedule);
}

std::optional<Error> Batcher::State::refusal(const Enqueue& request) const {
  if (phase == Phase::dead) {
    return Error{ErrorCode::aborted,
                 "The group's generation has failed: place the request on another group."};
  }
  if (request.generation != config.generation || request.weights_id != config.weights_id) {
    return Error{ErrorCode::aborted,
                 "The request was meant for another generation or other weights of this group: "
                 "look up the routing "
                 "table and place it again."};
  }
  if (phase != Phase::serving) {
    return Error{ErrorCode::unavailable,
                 "The group is draining: place the request on another group."};
  }
  if (request.deadline_left <= Duration{}) {
    return Error{ErrorCode::deadline_exceeded,
                 "The request's deadline passed before it reached the group."};
  }
  if (schedule.waiting() >= static_cast<size_t>(config.queue_max)) {
    return Error{ErrorCode::rate_limited,
                 fmt::format("{} sequences wait in this group already: try again later.",
                             schedule.waiting())};
  }
  return std::nullopt;
}

void Batcher::State::take(Time now, RouterId router, const Enqueue& request, BatcherEffects& out) {
  const auto refuse = [&](Error error) {
    out.push_back(
        batcher_out::ToRouter{router, Refused{request.key, request.attempt, std::move(error)}});
  };
  if (const Sequence* known = sequences.find(request.key)) {
    if (!is_newer(request.attempt, known->request.attempt)) {
      out.push_back(batcher_out::Drop{"stale_attempt"});
      return;
    }
    sequences.leave(request.key, schedule);
  }
  if (auto error = refusal(request)) return refuse(std::move(*error));
  const IntakeLimits limits{.context = config.context,
                            .vocab = config.vocab,
                            .positions_max = (config.kv_blocks - 1) * kBlockPositions};
  auto sequence = take_in(request, router, arrivals, now, limits);
  if (!sequence) return refuse(std::move(sequence.error()));
  // The first chunk says that the request was taken; it is not part of a step.
  TokenChunk taken{.key = request.key,
                   .attempt = request.attempt,
                   .seq = request.accepted.size(),
                   .finish = finish_of(*sequence)};
  const bool over = taken.finish != Finish::none;
  out.push_back(
      batcher_out::ToRouter{router, TokenBatch{config.generation, StepId{}, {std::move(taken)}}});
  if (over) return;
  ++arrivals;
  sequences.add(std::move(*sequence), schedule);
}

void Batcher::State::take(Time, RouterId, const Cancel& request, BatcherEffects& out) {
  const Sequence* known = sequences.find(request.key);
  if (known == nullptr || known->request.attempt != request.attempt) {
    out.push_back(batcher_out::Drop{"stale_cancel"});
    return;
  }
  sequences.leave(request.key, schedule);
}

void Batcher::State::take(Time now, RouterId router, const BundleRequest& request,
                          BatcherEffects& out) {
  BundleChunk chunk = bundle.chunk(request.offset);
  const bool last = is_last(chunk);
  out.push_back(batcher_out::ToRouter{router, std::move(chunk)});
  // Only now can the router use what it is told of the group, and the next round of statuses is a
  // while away.
  if (last) out.push_back(batcher_out::ToRouter{router, status(now)});
}

void Batcher::State::take(Time, RouterId router, const PrefixRequest&, BatcherEffects& out) {
  out.push_back(batcher_out::ToRouter{router, report_of(schedule.books().prefix_log().whole())});
}

void Batcher::State::expire(Time now, BatcherEffects& out) {
  while (const Sequence* late = sequences.overdue(now)) {
    const SequenceKey key = late->request.key;
    out.push_back(batcher_out::ToRouter{
        late->router,
        Refused{key, late->request.attempt,
                Error{ErrorCode::deadline_exceeded,
                      "The request's deadline passed before its answer was complete."}}});
    sequences.leave(key, schedule);
  }
}

}  // namespace troupe
