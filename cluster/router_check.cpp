// Router: the invariants, checked after every step of every test.
#include <algorithm>

#include "cluster/router_state.h"
#include "config/check.h"

namespace troupe {
namespace {

void check_choice(const ChoiceState& choice, const Computation& computation) {
  TROUPE_CHECK(choice.shown <= choice.tokens.size(), choice.shown, choice.tokens.size());
  TROUPE_CHECK(!choice.finish_shown || !choice.open());
  TROUPE_CHECK(!choice.finish_shown || choice.shown == choice.tokens.size(), choice.shown);
  TROUPE_CHECK(choice.logprobs.empty() || choice.logprobs.size() == choice.tokens.size(),
               choice.logprobs.size(), choice.tokens.size());
  TROUPE_CHECK(
      choice.tokens.size() <= static_cast<size_t>(std::max(0, computation.request.max_new)),
      choice.tokens.size());
}

void check_held(const Computation& computation) {
  // Shown plus held is accepted, for each choice: no token is lost or shown twice.
  std::vector<size_t> tokens(computation.choices.size(), 0);
  uint64_t number = 0;
  for (const HeldPiece& held : computation.held) {
    TROUPE_CHECK(held.number >= number, held.number, number);
    number = held.number;
    tokens[static_cast<size_t>(held.piece.choice)] += held.piece.tokens.size();
  }
  for (size_t i = 0; i < tokens.size(); ++i)
    TROUPE_CHECK(computation.choices[i].shown + tokens[i] == computation.choices[i].tokens.size(),
                 i, computation.choices[i].shown, tokens[i]);
}

}  // namespace

void Router::check() const {
  const State& state = *state_;
  size_t clients = 0, bytes = 0, placed = 0, waiting = 0, keys = 0;
  int32_t sequences = 0;
  for (const auto& [id, computation] : state.computations) {
    TROUPE_CHECK(computation.id == id, id);
    TROUPE_CHECK(!computation.clients.empty(), id);
    TROUPE_CHECK(!computation.dirty, id);
    clients += computation.clients.size();
    sequences += static_cast<int32_t>(computation.clients.size()) * computation.request.choices;
    for (const RouterClient& client : computation.clients)
      TROUPE_CHECK(state.clients.contains(client.id) && state.clients.at(client.id) == id, id);
    for (const ChoiceState& choice : computation.choices) check_choice(choice, computation);
    check_held(computation);
    TROUPE_CHECK(computation.journal_bytes == journal_bytes_of(computation.request) +
                                                  computation.accepted() * sizeof(TokenId),
                 id, computation.journal_bytes);
    bytes += computation.journal_bytes;
    TROUPE_CHECK(computation.failures <= kRetryBudget, id, computation.failures);
    TROUPE_CHECK(state.timers.contains({computation.armed, id}), id);
    TROUPE_CHECK(computation.armed <= state.next_due(computation), id);
    TROUPE_CHECK((computation.phase == Phase::complete) == (computation.open_choices() == 0), id);
    TROUPE_CHECK(computation.phase != Phase::complete || !computation.held.empty(), id);
    if (computation.phase == Phase::placed) {
      ++placed;
      const auto there = state.placed.find(computation.place.group);
      TROUPE_CHECK(there != state.placed.end() && there->second.contains(id), id);
      TROUPE_CHECK(state.groups.alive(computation.place), id, computation.place.group);
      TROUPE_CHECK(computation.attempt.boot == state.config.boot, id);
      TROUPE_CHECK(computation.attempt.counter.value <= state.attempt_counter, id);
    }
    if (computation.phase == Phase::waiting) {
      ++waiting;
      TROUPE_CHECK(std::ranges::count(state.waiting, id) == 1, id);
      TROUPE_CHECK(computation.wait_since.has_value(), id);
    }
    if (computation.request.cache_key) {
      ++keys;
      const auto key = state.by_key.find(*computation.request.cache_key);
      TROUPE_CHECK(key != state.by_key.end() && key->second == id, id);
    }
  }
  size_t placed_listed = 0;
  for (const auto& [group, ids] : state.placed) {
    TROUPE_CHECK(!ids.empty(), group);
    placed_listed += ids.size();
  }
  TROUPE_CHECK(placed == placed_listed, placed, placed_listed);
  TROUPE_CHECK(waiting == state.waiting.size(), waiting, state.waiting.size());
  TROUPE_CHECK(keys == state.by_key.size(), keys, state.by_key.size());
  TROUPE_CHECK(clients == state.clients.size(), clients, state.clients.size());
  TROUPE_CHECK(sequences == state.sequences, sequences, state.sequences);
  TROUPE_CHECK(sequences <= state.config.limits.router_requests, sequences);
  TROUPE_CHECK(bytes == state.journal_bytes, bytes, state.journal_bytes);
  TROUPE_CHECK(state.timers.size() == state.computations.size(), state.timers.size());
  TROUPE_CHECK(state.dirty.empty());
  TROUPE_CHECK(!state.drained || state.clients.empty());
  state.journal.check();
}

}  // namespace troupe
