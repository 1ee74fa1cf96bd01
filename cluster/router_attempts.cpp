// Router: placing a computation on a group, what happens when the group fails it, planned moves,
// timers.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "cluster/router_state.h"
#include "config/check.h"

namespace troupe {

void Router::State::wait_for_group(Computation& computation, WaitFor reason) {
  computation.phase = Phase::waiting;
  computation.wait_for = reason;
  if (!computation.wait_since) computation.wait_since = now;
  waiting.push_back(computation.id);
}

void Router::State::place_waiting() {
  retry_waiting = false;
  std::map<std::string, bool> served;
  const std::vector<RequestId> ids = waiting;
  for (RequestId id : ids) {
    Computation& computation = at(id);
    if (computation.not_before > now) continue;
    auto [entry, first] = served.try_emplace(computation.request.model, true);
    if (first) entry->second = !groups.candidates(computation.request.model, now).empty();
    if (entry->second) place(computation);
  }
}

std::vector<GroupCandidate> Router::State::candidates_for(Computation& computation) {
  const ClientRequest& request = computation.request;
  std::vector<GroupCandidate> candidates = groups.candidates(request.model, now);
  std::erase_if(candidates, [&](const GroupCandidate& candidate) {
    return std::ranges::find(computation.full, candidate.group) != computation.full.end();
  });
  for (GroupCandidate& candidate : candidates) {
    const Digest& numerics = groups.endpoint(candidate.group)->numerics_id;
    candidate.cached_tokens = prefixes.cached_tokens(
        now, candidate.group, computation.marks.under(numerics, request.tenant, request.prompt));
    candidate.inexact = computation.numerics.value_or(numerics) != numerics;
    candidate.avoid = computation.failed_on == candidate.group;
  }
  return candidates;
}

bool Router::State::place(Computation& computation) {
  const ClientRequest& request = computation.request;
  const auto prompt_tokens = static_cast<int64_t>(request.prompt.size());
  const std::vector<GroupCandidate> candidates = candidates_for(computation);
  const std::optional<GroupId> chosen = choose_group(candidates, prompt_tokens);
  if (!chosen) return false;

  std::erase(waiting, computation.id);
  computation.phase = Phase::placed;
  computation.place = *groups.place_of(*chosen);
  TROUPE_CHECK(attempt_counter < std::numeric_limits<uint32_t>::max());
  computation.attempt = {config.boot, kFirstOwner, Attempt(++attempt_counter)};
  ++computation.attempts;
  if (!computation.first_placed) computation.first_placed = now;
  placed[*chosen].insert(computation.id);
  counters.continued_tokens += computation.accepted();

  const GroupEndpoint& endpoint = *groups.endpoint(*chosen);
  const int32_t open = computation.open_choices();
  const auto there = std::ranges::find(candidates, *chosen, &GroupCandidate::group);
  // Choices share the prompt.
  groups.add_queued(*chosen, std::max<int64_t>(0, prompt_tokens - there->cached_tokens), open);
  prefixes.sent(now, *chosen,
                computation.marks.under(endpoint.numerics_id, request.tenant, request.prompt));
  for (size_t i = 0; i < computation.choices.size(); ++i) {
    ChoiceState& choice = computation.choices[i];
    if (!choice.open()) continue;
    choice.heard = now;
    choice.answered = choice.started = false;
    Enqueue enqueue;
    enqueue.key = {computation.id, static_cast<int32_t>(i)};
    enqueue.attempt = computation.attempt;
    enqueue.generation = computation.place.generation;
    enqueue.weights_id = endpoint.weights_id;
    enqueue.prompt = request.prompt;
    enqueue.accepted = choice.tokens;
    enqueue.max_new = request.max_new;
    enqueue.sampling = request.sampling;
    enqueue.stop_ids = request.stop_ids;
    enqueue.deadline_left = std::max(Duration(1), computation.deadline() - now);
    enqueue.tenant = request.tenant;
    enqueue.score_prompt = request.score_prompt && i == 0 && choice.tokens.empty() &&
                           computation.prompt_logprobs.empty();
    enqueue.trace = request.trace;
    emit(router_out::ToGroup{*chosen, computation.place.incarnation, std::move(enqueue)});
  }
  arm(computation);
  return true;
}

void Router::State::cancel_at_group(Computation& computation) {
  if (computation.phase != Phase::placed) return;
  if (!groups.link_is(computation.place.group, computation.place.incarnation)) return;
  for (size_t i = 0; i < computation.choices.size(); ++i) {
    if (!computation.choices[i].open()) continue;
    const Cancel cancel{{computation.id, static_cast<int32_t>(i)}, computation.attempt};
    emit(router_out::ToGroup{computation.place.group, computation.place.incarnation, cancel});
  }
}

void Router::State::unplace(Computation& computation) {
  if (computation.phase != Phase::placed) return;
  const auto group = placed.find(computation.place.group);
  group->second.erase(computation.id);
  if (group->second.empty()) placed.erase(group);
}

void Router::State::attempt_failed(Computation& computation, std::string_view why) {
  cancel_at_group(computation);
  unplace(computation);
  computation.failed_on = computation.place.group;
  ++computation.failures;
  computation.tokens_since_failure = 0;
  wait_for_group(computation, WaitFor::ready_group);
  if (computation.failures > kRetryBudget) {
    fail(computation,
         Error{ErrorCode::unavailable,
               fmt::format("This request failed {} times in a row, last because {}; try it again.",
                           computation.failures, why),
               {}},
         retry_after(computation.id));
    return;
  }
  ++counters.retries;
  if (!place(computation)) arm(computation);
}

void Router::State::move_away(Computation& computation) {
  cancel_at_group(computation);
  unplace(computation);
  computation.failed_on = computation.place.group;
  wait_for_group(computation, WaitFor::ready_group);
  if (!place(computation)) arm(computation);
}

void Router::State::check_groups() {
  retry_waiting = !waiting.empty();
  std::vector<RequestId> lost;
  for (const auto& [group, ids] : placed)
    for (RequestId id : ids)
      if (!groups.alive(at(id).place)) lost.push_back(id);
  for (RequestId id : lost) {
    Computation& computation = at(id);
    if (groups.draining_since(computation.place.group))
      move_away(computation);
    else
      attempt_failed(computation, "its group went away");
  }
}

void Router::State::fail_lost(GroupId group) {
  const auto there = placed.find(group);
  const GroupStatus* status = groups.status(group);
  if (there == placed.end() || !status) return;
  // Those younger than a status may not be in its counts yet.
  const Duration settled = config.limits.scaled(kGroupStatusFresh);
  const Duration silent = config.limits.scaled(kEnqueueSilenceMax);
  int32_t known = 0;
  std::vector<RequestId> suspects;
  for (RequestId id : there->second) {
    bool suspect = false;
    for (const ChoiceState& choice : at(id).choices) {
      if (!choice.open() || choice.heard + settled > now) continue;
      ++known;
      suspect = suspect || choice.heard + silent <= now;
    }
    if (suspect) suspects.push_back(id);
  }
  if (known <= status->queued + status->running) return;
  for (RequestId id : suspects) attempt_failed(at(id), "its group lost it");
}

void Router::State::move_from_draining() {
  std::vector<RequestId> moving;
  for (const auto& [group, ids] : placed) {
    const std::optional<Time> since = groups.draining_since(group);
    if (!since || now < *since + config.limits.scaled(kDrainMoveAfter)) continue;
    const GroupEndpoint* endpoint = groups.endpoint(group);
    if (endpoint && !groups.candidates(endpoint->model, now).empty())
      moving.insert(moving.end(), ids.begin(), ids.end());
  }
  for (RequestId id : moving) move_away(at(id));
}

Time Router::State::next_due(const Computation& computation) const {
  Time due = Time::max();
  if (computation.phase == Phase::complete) return due;  // held pieces have the journal's own timer
  for (const RouterClient& client : computation.clients) due = std::min(due, client.deadline);
  if (computation.phase == Phase::lookup) return std::min(due, computation.lookup_end);
  if (computation.phase == Phase::waiting) {
    const bool room = computation.wait_for == WaitFor::room;
    if (room && computation.not_before > now) due = std::min(due, computation.not_before);
    const Duration most = room ? config.limits.queue_wait : config.limits.scaled(kGroupWaitMax);
    return std::min(due, *computation.wait_since + most);
  }
  for (const ChoiceState& choice : computation.choices) {
    if (!choice.open()) continue;
    if (!choice.answered)
      due = std::min(due, choice.heard + config.limits.scaled(kEnqueueSilenceMax));
    else if (choice.started)
      due = std::min(due, choice.heard + config.limits.scaled(kSequenceSilenceMax));
  }
  return due;
}

void Router::State::arm(Computation& computation) {
  const Time due = next_due(computation);
  // A later due moment is found out when the entry fires: tokens move it all the time.
  if (due >= computation.armed && computation.armed > now) return;
  timers.erase({computation.armed, computation.id});
  computation.armed = due;
  timers.insert({computation.armed, computation.id});
}

void Router::State::expire(Computation& computation) {
  const RequestId id = computation.id;
  if (computation.phase != Phase::complete) {
    std::vector<RequestId> late;
    for (const RouterClient& client : computation.clients)
      if (client.deadline <= now) late.push_back(client.id);
    for (RequestId client : late) {
      fail_client(computation, client,
                  Error{ErrorCode::deadline_exceeded,
                        "The answer was not complete within the request's deadline; ask for fewer "
                        "tokens or allow more time.",
                        {}},
                  {});
      if (!find(id)) return;
    }
  }
  if (computation.phase == Phase::lookup && computation.lookup_end <= now)
    return begin(computation);
  if (computation.phase == Phase::waiting) {
    const bool room = computation.wait_for == WaitFor::room;
    const Duration most = room ? config.limits.queue_wait : config.limits.scaled(kGroupWaitMax);
    if (*computation.wait_since + most <= now) {
      const Error full{
          ErrorCode::rate_limited,
          fmt::format("The queue of every group that serves '{}' stayed full for {} s; "
                      "try again later.",
                      computation.request.model, to_ms(most) / 1000),
          {}};
      const Error none{ErrorCode::unavailable,
                       fmt::format("No group that serves '{}' became ready within {} s; try again "
                                   "later.",
                                   computation.request.model, to_ms(most) / 1000),
                       {}};
      return fail(computation, room ? full : none, retry_after(id));
    }
    if (room && computation.not_before <= now && place(computation)) return;
    if (room && computation.not_before <= now) computation.wait_for = WaitFor::ready_group;
  }
  if (computation.phase == Phase::placed) {
    for (const ChoiceState& choice : computation.choices) {
      if (!choice.open() || (choice.answered && !choice.started)) continue;
      const Duration most =
          config.limits.scaled(choice.answered ? kSequenceSilenceMax : kEnqueueSilenceMax);
      if (choice.heard + most > now) continue;
      groups.hold(computation.place.group, now + config.limits.scaled(kGroupHold));
      attempt_failed(computation, "its group did not answer");
      return;
    }
  }
  arm(computation);
}

}  // namespace troupe
