// State of one computation inside the Router: the answer being made, where, and who waits for it.
// Several clients share a computation when they asked for the same thing. Pure data; owned by the
// Router machine.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "cluster/choice_text.h"
#include "cluster/group_table.h"
#include "cluster/prefix_marks.h"
#include "cluster/router.h"

namespace troupe {

/// One choice of the answer.
struct ChoiceState {
  explicit ChoiceState(ChoiceText choice_text) : text(std::move(choice_text)) {}

  ChoiceText text;
  std::vector<TokenId> tokens;  ///< accepted, journalled
  std::vector<LogProbs> logprobs;
  Finish finish = Finish::none;
  size_t shown = 0;           ///< of tokens: delivered
  bool finish_shown = false;  ///< the end was delivered
  // of the current attempt
  Time heard{};           ///< of the last chunk, or of the Enqueue
  bool answered = false;  ///< the group took the Enqueue
  bool started = false;   ///< it gave tokens

  bool open() const { return finish == Finish::none; }
};

/// One who waits for the answer.
struct RouterClient {
  RequestId id;
  Time arrived{}, deadline{};
  CacheOutcome cache = CacheOutcome::not_cacheable;
  bool greeted = false;  ///< has the prompt's log-probabilities
};

/// A piece that must not be shown before the journal peer has stored append `number`.
struct HeldPiece {
  uint64_t number = 0;
  router_out::Piece piece;
};

enum class Phase : uint8_t {
  lookup,    ///< the cache was asked
  waiting,   ///< for a group
  placed,    ///< on a group
  complete,  ///< every choice has ended; pieces may still be held
};

/// Why it waits for a group; decides how long and what the client is told.
enum class WaitFor : uint8_t { ready_group, room };

struct Computation {
  RequestId id;  ///< of the client that began it; stays when that client leaves
  ClientRequest request;
  Phase phase = Phase::lookup;
  std::vector<RouterClient> clients;
  std::vector<ChoiceState> choices;
  std::deque<HeldPiece> held;
  std::vector<LogProbs> prompt_logprobs;
  bool inexact = false;
  bool dirty = false;  ///< listed for delivery at the end of this step

  // lookup
  Time lookup_end{};
  // waiting
  WaitFor wait_for = WaitFor::ready_group;
  std::optional<Time> wait_since;  ///< of the present search; ends when a group takes the request
  Time not_before{};
  Duration backoff{};
  std::vector<GroupId> full;  ///< groups that refused for want of room since the last back-off
  PromptMarks marks;          ///< of the prompt, once a group was looked for
  // placed
  Place place;
  AttemptId attempt;

  int failures = 0;  ///< unplanned, since the budget was last earned back
  int tokens_since_failure = 0;
  std::optional<GroupId> failed_on;
  std::optional<Digest> numerics;  ///< of the tokens accepted so far

  int32_t attempts = 0;
  Time began{};
  std::optional<Time> first_placed, first_token;
  Time last_token{};
  Duration group_queue{}, prefill{};
  int32_t cached_tokens = 0;

  Time armed{};  ///< its entry in Router::State::timers
  size_t journal_bytes = 0;

  /// The last moment at which any client still wants it.
  Time deadline() const {
    Time latest{};
    for (const RouterClient& client : clients) latest = std::max(latest, client.deadline);
    return latest;
  }
  int32_t open_choices() const {
    int32_t open = 0;
    for (const ChoiceState& choice : choices) open += choice.open() ? 1 : 0;
    return open;
  }
  size_t accepted() const {
    size_t tokens = 0;
    for (const ChoiceState& choice : choices) tokens += choice.tokens.size();
    return tokens;
  }
};

}  // namespace troupe
