// Router: who may come in, who joins a running computation, who leaves, how a request ends.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cluster/router_state.h"
#include "config/check.h"
#include "config/mix.h"

namespace troupe {
namespace {

// Of a request in a journal besides its prompt and tokens: parameters, stop strings, book-keeping.
constexpr size_t kJournalEntryOverhead = 512;

}  // namespace

size_t journal_bytes_of(const ClientRequest& request) {
  size_t bytes = kJournalEntryOverhead + request.prompt.size() * sizeof(TokenId);
  for (const std::string& stop : request.stop_strings) bytes += stop.size();
  return bytes;
}

Duration Router::State::retry_after(RequestId id) const {
  // Spread over a second, so that refused clients do not come back together.
  return 1s + std::chrono::milliseconds(mix64(id.low) % 1000);
}

bool Router::State::admit(const ClientRequest& request) {
  const auto refuse = [&](ErrorCode code, std::string message, Duration after) {
    emit(router_out::Fail{request.id, Error{code, std::move(message), {}}, after});
    return false;
  };
  const Duration later = retry_after(request.id);
  if (draining)
    return refuse(ErrorCode::unavailable,
                  "This router is draining and takes no new requests; try another one.", later);
  if (request.choices < 1 || !request.tokenizer || request.prompt.empty())
    return refuse(ErrorCode::invalid_argument,
                  "A request needs a prompt of at least one token and at least one choice.", {});
  if (!groups.knows_model(request.model))
    return refuse(ErrorCode::not_found,
                  fmt::format("No model named '{}' is served here; GET /v1/models lists those that "
                              "are.",
                              request.model),
                  {});
  const bool joins = request.cache_key && by_key.contains(*request.cache_key);
  if (!joins && !groups.may_serve(request.model))
    return refuse(ErrorCode::unavailable,
                  fmt::format("No group that serves '{}' is ready or starting; try again later.",
                              request.model),
                  later);
  if (sequences + request.choices > config.limits.router_requests)
    return refuse(ErrorCode::rate_limited,
                  fmt::format("This router holds {} sequences of at most {} and has no room for {} "
                              "more; try again later.",
                              sequences, config.limits.router_requests, request.choices),
                  later);
  if (!joins && journal_bytes + journal_bytes_of(request) > kJournalBytesMax)
    return refuse(ErrorCode::rate_limited,
                  "The prompts of the requests in this router fill its journal; try again later.",
                  later);
  return true;
}

void Router::State::attach(Computation& computation, const ClientRequest& request,
                           CacheOutcome outcome) {
  RouterClient client;
  client.id = request.id;
  client.arrived = now;
  client.deadline = now + request.deadline;
  client.cache = outcome;
  computation.clients.push_back(client);
  clients[request.id] = computation.id;
  sequences += computation.request.choices;
  arm(computation);
  // What the others have been shown already.
  router_out::Deliver caught_up;
  for (size_t i = 0; i < computation.choices.size(); ++i) {
    const ChoiceState& choice = computation.choices[i];
    if (choice.shown == 0 && !choice.finish_shown) continue;
    const auto tokens = std::span(choice.tokens).first(choice.shown);
    const auto logprobs =
        std::span(choice.logprobs).first(std::min(choice.logprobs.size(), choice.shown));
    std::vector<router_out::Piece> pieces =
        replay(computation.request, static_cast<int32_t>(i), tokens, logprobs,
               choice.finish_shown ? choice.finish : Finish::none);
    std::move(pieces.begin(), pieces.end(), std::back_inserter(caught_up.pieces));
  }
  if (caught_up.pieces.empty()) {
    // During a lookup it is not known yet: a hit serves all who wait.
    if (outcome == CacheOutcome::coalesced && computation.phase != Phase::lookup)
      tell_outcome(computation.clients.back());
    return;
  }
  caught_up.id = request.id;
  caught_up.prompt_logprobs = computation.prompt_logprobs;
  caught_up.cache = outcome;
  caught_up.inexact = computation.inexact;
  computation.clients.back().greeted = true;
  caught_up.timings = timings_for(computation, computation.clients.back());
  emit(std::move(caught_up));
}

void Router::State::tell_outcome(const RouterClient& client) {
  router_out::Deliver news;
  news.id = client.id;
  news.cache = client.cache;
  emit(std::move(news));
}

void Router::State::begin(Computation& computation) {
  if (computation.phase == Phase::lookup && computation.request.cache_key) {
    ++counters.cache_misses;
    for (const RouterClient& client : computation.clients) tell_outcome(client);
  }
  journal.open(journal_open(computation));
  wait_for_group(computation, WaitFor::ready_group);
  if (!place(computation)) arm(computation);
}

void Router::State::serve_cached(Computation& computation, const CachedResponse& response,
                                 CacheTier tier) {
  CacheOutcome outcome = CacheOutcome::hit_memory;
  uint64_t* counter = &counters.cache_hits_memory;
  if (tier == CacheTier::redis)
    outcome = CacheOutcome::hit_redis, counter = &counters.cache_hits_redis;
  if (tier == CacheTier::disk)
    outcome = CacheOutcome::hit_disk, counter = &counters.cache_hits_disk;
  ++*counter;
  router_out::Deliver answer;
  for (size_t i = 0; i < response.choices.size(); ++i) {
    const CachedChoice& choice = response.choices[i];
    std::vector<router_out::Piece> pieces = replay(computation.request, static_cast<int32_t>(i),
                                                   choice.tokens, choice.logprobs, choice.finish);
    for (router_out::Piece& piece : pieces) {
      answer.timings.generated_tokens += static_cast<int32_t>(piece.tokens.size());
      answer.pieces.push_back(std::move(piece));
    }
  }
  answer.prompt_logprobs = response.prompt_logprobs;
  answer.last = answer.keep = true;
  answer.cache = outcome;
  answer.timings.prompt_tokens = static_cast<int32_t>(computation.request.prompt.size());
  for (const RouterClient& client : computation.clients) {
    answer.id = client.id;
    answer.timings.queue = answer.timings.ttft = now - client.arrived;
    emit(answer);
  }
  retire(computation);
}

void Router::State::client_leaves(Computation& computation, RequestId id) {
  std::erase_if(computation.clients, [&](const RouterClient& client) { return client.id == id; });
  clients.erase(id);
  sequences -= computation.request.choices;
  if (!computation.clients.empty()) return;
  cancel_at_group(computation);
  if (computation.phase != Phase::lookup) journal.close(computation.id);
  retire(computation);
}

void Router::State::fail_client(Computation& computation, RequestId client, Error error,
                                Duration after) {
  emit(router_out::Fail{client, std::move(error), after});
  client_leaves(computation, client);
}

void Router::State::fail(Computation& computation, Error error, Duration after) {
  const std::vector<RouterClient> all = computation.clients;
  // The last to leave ends the computation.
  for (const RouterClient& client : all) fail_client(computation, client.id, error, after);
}

void Router::State::retire(Computation& computation) {
  for (const RouterClient& client : computation.clients) {
    clients.erase(client.id);
    sequences -= computation.request.choices;
  }
  unplace(computation);
  std::erase(waiting, computation.id);
  if (computation.request.cache_key) {
    const auto key = by_key.find(*computation.request.cache_key);
    if (key != by_key.end() && key->second == computation.id) by_key.erase(key);
  }
  timers.erase({computation.armed, computation.id});
  journal_bytes -= computation.journal_bytes;
  const RequestId id = computation.id;  // a copy: erase takes it by reference
  computations.erase(id);
}

}  // namespace troupe
