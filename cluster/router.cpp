#include "cluster/router.h"

#include <fmt/format.h>

#include <utility>

#include "cluster/router_state.h"
#include "config/check.h"

namespace troupe {

Router::State::State(RouterConfig c)
    : config(std::move(c)),
      groups(config.limits),
      journal(config.boot, config.has_journal_peer, config.limits.scaled(kJournalAckTimeout),
              config.limits.scaled(kJournalResyncInterval)) {}

void Router::State::on(const router_in::Submit& input) {
  const ClientRequest& request = input.request;
  if (clients.contains(request.id) || computations.contains(request.id))
    return drop("a request id came twice");
  if (!admit(request)) return;
  if (request.cache_key) {
    const auto running = by_key.find(*request.cache_key);
    if (running != by_key.end()) {
      ++counters.coalesced;
      return attach(at(running->second), request, CacheOutcome::coalesced);
    }
  }
  Computation& computation = computations[request.id];
  computation.id = request.id;
  computation.request = request;
  computation.began = now;
  computation.journal_bytes = journal_bytes_of(request);
  journal_bytes += computation.journal_bytes;
  for (int32_t i = 0; i < request.choices; ++i)
    computation.choices.emplace_back(ChoiceText(request.tokenizer, request.stop_strings, i));
  computation.armed = Time::max();
  timers.insert({computation.armed, computation.id});
  attach(computation, request,
         request.cache_key ? CacheOutcome::miss : CacheOutcome::not_cacheable);
  if (!request.cache_key) return begin(computation);
  by_key[*request.cache_key] = computation.id;
  computation.lookup_end = now + config.limits.scaled(kRedisTimeout) * 2;
  emit(router_out::CacheLookup{computation.id, *request.cache_key});
  arm(computation);
}

void Router::State::on(const router_in::ClientGone& input) {
  const auto client = clients.find(input.id);
  if (client == clients.end()) return drop("an unknown client left");
  client_leaves(at(client->second), input.id);
}

void Router::State::on(const router_in::Routing& input) {
  if (!groups.set_table(now, input.table)) return stale("stale routing table");
  remark = input.table.remark;
  cut_off = input.table.cut_off;
  check_groups();
}

void Router::State::on(const router_in::GroupLink& input) {
  if (!groups.set_link(input.group, input.incarnation, input.up)) return stale("stale link news");
  prefixes.forget(input.group);
  check_groups();
}

void Router::State::on(const router_in::FromGroup& input) {
  if (!groups.link_is(input.group, input.incarnation)) return stale("message from a closed link");
  if (const auto* batch = std::get_if<TokenBatch>(&input.message)) return on_batch(input, *batch);
  if (const auto* refused = std::get_if<Refused>(&input.message))
    return on_refused(input, *refused);
  if (const auto* report = std::get_if<PrefixReport>(&input.message)) {
    // A gap shows in the next status.
    if (report->group != input.group || !prefixes.heard(now, *report))
      drop("a prefix report does not follow the one before");
    return;
  }
  const GroupStatus& status = std::get<GroupStatus>(input.message);
  if (status.group != input.group || !groups.set_status(now, input.incarnation, status))
    return stale("stale group status");
  if (prefixes.must_ask(now, input.group, status.prefix_version))
    emit(router_out::ToGroup{input.group, input.incarnation, PrefixRequest{input.group}});
  fail_lost(input.group);
  check_groups();
}

void Router::State::on(const router_in::CacheReply& input) {
  Computation* computation = find(input.id);
  if (!computation || computation->phase != Phase::lookup) return stale("late cache reply");
  const bool hit = input.tier != CacheTier::none && input.response;
  if (hit && fits(computation->request, *input.response))
    return serve_cached(*computation, *input.response, input.tier);
  if (hit) drop("a cached answer did not fit its request");
  begin(*computation);
}

void Router::State::on(const router_in::JournalAcked& input) {
  switch (journal.acked(now, input.ack)) {
    case JournalWriter::Heard::nothing:
      return stale("stale journal acknowledgement");
    case JournalWriter::Heard::progress:
      return;
    case JournalWriter::Heard::gap:
      resync = true;
      return;
  }
}

void Router::State::on(const router_in::Drain&) { draining = true; }

void Router::State::on(const router_in::Tick&) {}

void Router::State::expire() {
  journal.expire(now);
  while (!timers.empty() && timers.begin()->first <= now) {
    Computation& computation = at(timers.begin()->second);
    // expire() may end it; otherwise arm() moves its entry past `now`.
    expire(computation);
  }
  move_from_draining();
  if (hold_end && *hold_end <= now) retry_waiting = true;
}

void Router::State::finish_step() {
  if (retry_waiting) place_waiting();
  RouterEffects deliveries;
  RouterEffects* const to = std::exchange(out, &deliveries);
  for (RequestId id : journal.take_released())
    if (Computation* computation = find(id)) touch(*computation);
  // Ends are decided before the append is made, so that one append says it all.
  for (size_t i = 0; i < dirty.size(); ++i)
    if (Computation* computation = find(dirty[i])) deliver(*computation);
  dirty.clear();
  out = to;
  if (std::exchange(resync, false))
    send_whole_journal();
  else if (std::optional<JournalAppend> append = journal.flush(now))
    emit(router_out::Journal{std::move(*append)});
  for (RouterEffect& effect : deliveries) emit(std::move(effect));
  hold_end = waiting.empty() ? std::nullopt : groups.next_hold_end(now);
  if (draining && clients.empty() && !std::exchange(drained, true)) emit(router_out::Drained{});
}

std::optional<Time> Router::State::deadline() const {
  std::optional<Time> next;
  const auto consider = [&](std::optional<Time> time) {
    if (time && *time != Time::max() && (!next || *time < *next)) next = time;
  };
  if (!timers.empty()) consider(timers.begin()->first);
  consider(journal.deadline());
  consider(hold_end);
  for (const auto& [group, ids] : placed) {
    const std::optional<Time> since = groups.draining_since(group);
    if (since && !ids.empty()) {
      const Time move = *since + config.limits.scaled(kDrainMoveAfter);
      if (move > now) consider(move);
    }
  }
  return next;
}

Router::Router(RouterConfig config) : state_(std::make_unique<State>(std::move(config))) {}
Router::~Router() = default;
Router::Router(Router&&) noexcept = default;
Router& Router::operator=(Router&&) noexcept = default;

void Router::step(Time now, const RouterInput& input, RouterEffects& out) {
  State& state = *state_;
  state.now = now;
  state.out = &out;
  state.expire();
  std::visit([&](const auto& specific) { state.on(specific); }, input);
  state.finish_step();
  state.out = nullptr;
}

std::optional<Time> Router::deadline() const { return state_->deadline(); }

RouterReadiness Router::readiness(Time now, const std::set<std::string>& served) const {
  RouterReadiness out;
  out.models = state_->groups.readiness(now);
  const auto refuse = [&](std::string why) {
    if (out.reason.empty()) out.reason = std::move(why);
  };
  if (state_->draining) refuse("draining");
  if (out.models.empty()) refuse("the node has not told which models there are");
  for (const ModelReadiness& model : out.models) {
    if (model.groups_ready == 0)
      refuse(fmt::format("model {}: {}", model.name, model.reason));
    else if (!served.contains(model.name))
      refuse(fmt::format("model {}: the router is fetching its tokenizer", model.name));
  }
  out.ready = out.reason.empty() && !state_->cut_off;
  if (!state_->remark.empty()) out.reason += (out.reason.empty() ? "" : "; ") + state_->remark;
  return out;
}

RouterStats Router::stats() const {
  RouterStats stats = state_->counters;
  stats.journal_timeouts = state_->journal.timeouts();
  for (const auto& [id, computation] : state_->computations) {
    const auto choices = static_cast<int32_t>(computation.choices.size());
    if (computation.phase == Phase::placed)
      stats.running += computation.open_choices();
    else if (computation.phase != Phase::complete)
      stats.queued += choices;
  }
  return stats;
}

}  // namespace troupe
