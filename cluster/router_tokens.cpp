// Router: what groups send, and what clients see of it.
#include <algorithm>
#include <iterator>
#include <utility>

#include "cluster/cached_response_codec.h"
#include "cluster/router_state.h"
#include "config/check.h"

namespace troupe {
namespace {

bool well_formed(const Computation& computation, const TokenChunk& chunk) {
  if (!chunk.logprobs.empty() && chunk.logprobs.size() != chunk.tokens.size()) return false;
  const int32_t vocab = computation.request.tokenizer->vocab();
  return std::all_of(chunk.tokens.begin(), chunk.tokens.end(),
                     [&](TokenId token) { return token.value >= 0 && token.value < vocab; });
}

}  // namespace

Computation* Router::State::current(const SequenceKey& key, const AttemptId& attempt) {
  Computation* computation = find(key.id);
  if (!computation || computation->phase != Phase::placed) return nullptr;
  if (computation->attempt != attempt || key.choice < 0) return nullptr;
  const auto index = static_cast<size_t>(key.choice);
  if (index >= computation->choices.size() || !computation->choices[index].open()) return nullptr;
  return computation;
}

void Router::State::on_batch(const router_in::FromGroup& from, const TokenBatch& batch) {
  const Place place{from.group, from.incarnation, batch.generation};
  for (const TokenChunk& chunk : batch.chunks) on_chunk(place, chunk);
}

void Router::State::on_chunk(const Place& place, const TokenChunk& chunk) {
  Computation* computation = current(chunk.key, chunk.attempt);
  if (!computation || computation->place != place) return stale("tokens of another attempt");
  ChoiceState& choice = computation->choices[static_cast<size_t>(chunk.key.choice)];
  if (chunk.seq < choice.tokens.size()) return stale("tokens came twice");
  if (chunk.seq > choice.tokens.size()) {
    attempt_failed(*computation, "tokens were lost on their way");
    return;
  }
  if (chunk.finish == Finish::cancelled) {
    attempt_failed(*computation, "its group gave it up");
    return;
  }
  if (!well_formed(*computation, chunk)) {
    groups.hold(place.group, now + config.limits.scaled(kGroupHold));
    attempt_failed(*computation, "its group sent tokens that its model does not have");
    return;
  }
  accept(*computation, choice, chunk);
}

void Router::State::accept(Computation& computation, ChoiceState& choice, const TokenChunk& chunk) {
  choice.heard = now;
  choice.answered = true;
  computation.wait_since.reset();
  computation.backoff = {};
  computation.full.clear();
  if (!chunk.prompt_logprobs.empty() && computation.prompt_logprobs.empty())
    computation.prompt_logprobs = chunk.prompt_logprobs;
  if (chunk.tokens.empty() && chunk.finish == Finish::none) return;  // the Enqueue was taken

  const Digest& numerics = groups.endpoint(computation.place.group)->numerics_id;
  if (computation.numerics && *computation.numerics != numerics) computation.inexact = true;
  computation.numerics = numerics;
  if (!computation.first_token) {
    computation.first_token = now;
    computation.group_queue = chunk.queued;
    computation.prefill = chunk.prefill;
    computation.cached_tokens = chunk.cached_tokens;
  }
  computation.last_token = now;
  choice.started = true;

  const auto most = static_cast<size_t>(std::max(0, computation.request.max_new));
  for (size_t i = 0; i < chunk.tokens.size() && choice.open() && choice.tokens.size() < most; ++i) {
    const uint64_t number = journal.tokens(chunk.key, choice.tokens.size(), chunk.tokens[i]);
    router_out::Piece piece = choice.text.push(chunk.tokens[i]);
    choice.tokens.push_back(chunk.tokens[i]);
    if (!chunk.logprobs.empty()) {
      choice.logprobs.push_back(chunk.logprobs[i]);
      piece.logprobs.push_back(chunk.logprobs[i]);
    }
    computation.journal_bytes += sizeof(TokenId);
    journal_bytes += sizeof(TokenId);
    if (++computation.tokens_since_failure >= kRetryBudgetResetTokens) computation.failures = 0;
    const bool final = i + 1 == chunk.tokens.size();
    if (piece.finish == Finish::none && final && chunk.finish != Finish::none)
      choice.text.finish(chunk.finish, piece);
    else if (piece.finish == Finish::none && choice.tokens.size() == most)
      choice.text.finish(Finish::length, piece);
    choice.finish = piece.finish;
    computation.held.push_back({number, std::move(piece)});
  }
  const bool spent = !chunk.tokens.empty() && choice.tokens.size() >= most;
  if (choice.open() && (chunk.finish != Finish::none || spent)) {
    router_out::Piece piece = choice.text.empty_piece();
    choice.text.finish(spent ? Finish::length : chunk.finish, piece);
    choice.finish = piece.finish;
    const uint64_t number = computation.held.empty() ? 0 : computation.held.back().number;
    computation.held.push_back({number, std::move(piece)});
  }
  touch(computation);
  if (choice.open()) return;
  // Ended here and not by the group: what it computes from now on nobody wants.
  if (chunk.finish == Finish::none)
    emit(router_out::ToGroup{computation.place.group, computation.place.incarnation,
                             Cancel{chunk.key, computation.attempt}});
  if (computation.open_choices() > 0) return;
  unplace(computation);
  computation.phase = Phase::complete;
}

void Router::State::on_refused(const router_in::FromGroup& from, const Refused& refused) {
  Computation* computation = current(refused.key, refused.attempt);
  if (!computation || computation->place.group != from.group ||
      computation->place.incarnation != from.incarnation)
    return stale("refusal of another attempt");
  const Place where = computation->place;
  switch (refused.error.code) {
    case ErrorCode::rate_limited: {
      cancel_at_group(*computation);
      unplace(*computation);
      computation->full.push_back(where.group);
      wait_for_group(*computation, WaitFor::room);
      if (place(*computation)) return;
      computation->full.clear();
      computation->backoff = std::clamp(computation->backoff * 2, Duration(kRefusedBackoffFirst),
                                        Duration(kRefusedBackoffMax));
      computation->not_before = now + computation->backoff;
      return arm(*computation);
    }
    case ErrorCode::invalid_argument:
    case ErrorCode::too_large:
    case ErrorCode::unsupported:
      return fail(*computation, refused.error, {});
    case ErrorCode::unavailable:
      // It drains, or has just begun to: a planned move.
      groups.hold(where.group, now + config.limits.scaled(kGroupHold));
      return move_away(*computation);
    case ErrorCode::aborted:
      groups.generation_died(where);
      attempt_failed(*computation, "its group failed");
      return check_groups();
    case ErrorCode::deadline_exceeded:
      // The group was told the deadline of those who waited then; someone with more time has
      // joined.
      return attempt_failed(*computation, "its time at the group ran out");
    default:
      groups.hold(where.group, now + config.limits.scaled(kGroupHold));
      attempt_failed(*computation, "its group refused it");
  }
}

void Router::State::touch(Computation& computation) {
  if (std::exchange(computation.dirty, true)) return;
  dirty.push_back(computation.id);
}

Timings Router::State::timings_for(const Computation& computation,
                                   const RouterClient& client) const {
  const auto since = [&](std::optional<Time> moment) {
    return moment ? std::max(Duration::zero(), *moment - client.arrived) : Duration::zero();
  };
  Timings timings;
  timings.queue = since(computation.first_placed) + computation.group_queue;
  timings.prefill = computation.prefill;
  timings.ttft = since(computation.first_token);
  if (computation.first_token) timings.decode = computation.last_token - *computation.first_token;
  timings.prompt_tokens = static_cast<int32_t>(computation.request.prompt.size());
  timings.cached_tokens = computation.cached_tokens;
  timings.generated_tokens = static_cast<int32_t>(computation.accepted());
  timings.attempts = computation.attempts;
  return timings;
}

void Router::State::deliver(Computation& computation) {
  computation.dirty = false;
  const bool complete = computation.phase == Phase::complete;
  const ClientRequest& request = computation.request;
  // The prompt's log-probabilities come with the first pieces; another choice may be ahead of them.
  if (request.score_prompt && request.prompt.size() > 1 && computation.prompt_logprobs.empty() &&
      !complete)
    return;
  router_out::Deliver answer;
  const uint64_t released = journal.released();
  while (!computation.held.empty() && computation.held.front().number <= released) {
    router_out::Piece& piece = computation.held.front().piece;
    ChoiceState& choice = computation.choices[static_cast<size_t>(piece.choice)];
    choice.shown += piece.tokens.size();
    if (piece.finish != Finish::none) choice.finish_shown = true;
    answer.pieces.push_back(std::move(piece));
    computation.held.pop_front();
  }
  answer.last = complete && computation.held.empty();
  if (answer.pieces.empty() && !answer.last) return;
  answer.inexact = computation.inexact;
  answer.keep = answer.last && may_keep(computation);
  for (RouterClient& client : computation.clients) {
    answer.id = client.id;
    answer.cache = client.cache;
    answer.timings = timings_for(computation, client);
    answer.prompt_logprobs.clear();
    if (!std::exchange(client.greeted, true)) answer.prompt_logprobs = computation.prompt_logprobs;
    if (&client == &computation.clients.back())
      emit(std::move(answer));
    else
      emit(answer);
  }
  if (!complete || !computation.held.empty()) return;
  store(computation);
  journal.close(computation.id);
  retire(computation);
}

bool Router::State::may_keep(const Computation& computation) const {
  // The key names the numerics the bridge knew; the group that answered may have others.
  return computation.request.cache_key && !computation.inexact &&
         computation.numerics == computation.request.numerics_id;
}

void Router::State::store(const Computation& computation) {
  if (!may_keep(computation)) return;
  auto response = std::make_shared<CachedResponse>();
  for (const ChoiceState& choice : computation.choices)
    response->choices.push_back({choice.tokens, choice.logprobs, choice.finish});
  response->prompt_logprobs = computation.prompt_logprobs;
  if (encoded_size(*response) > static_cast<size_t>(kCachedResponseBytesMax)) return;
  emit(router_out::CacheStore{*computation.request.cache_key, std::move(response)});
}

JournalOpen Router::State::journal_open(const Computation& computation) const {
  const ClientRequest& request = computation.request;
  JournalOpen open;
  open.id = computation.id;
  open.owner = kFirstOwner;
  open.model = request.model;
  open.prompt = request.prompt;
  open.choices = request.choices;
  open.max_new = request.max_new;
  open.sampling = request.sampling;
  open.stop_ids = request.stop_ids;
  open.stop_strings = request.stop_strings;
  open.deadline_left = computation.deadline() - now;
  open.tenant = request.tenant;
  return open;
}

void Router::State::send_whole_journal() {
  std::vector<JournalOpen> opened;
  std::vector<JournalTokens> tokens;
  size_t bytes = 0;
  bool first = true;
  const auto send = [&] {
    emit(router_out::Journal{
        journal.flush_whole(now, std::exchange(opened, {}), std::exchange(tokens, {}), first)});
    first = false;
    bytes = 0;
  };
  for (const auto& [id, computation] : computations) {
    if (computation.phase == Phase::lookup) continue;
    opened.push_back(journal_open(computation));
    for (size_t i = 0; i < computation.choices.size(); ++i)
      if (!computation.choices[i].tokens.empty())
        tokens.push_back({{id, static_cast<int32_t>(i)}, 0, computation.choices[i].tokens});
    bytes += computation.journal_bytes;
    if (bytes >= kWireChunkBytesMax) send();
  }
  if (first || !opened.empty()) send();
}

}  // namespace troupe
