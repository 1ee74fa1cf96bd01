#include "cluster/group_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cluster/serving_weights.h"

namespace troupe {

GroupTable::GroupTable(const Limits& limits) : limits_(limits) {}

bool GroupTable::set_table(Time now, const RoutingTable& table) {
  if (node_ == table.node && table.version <= version_) return false;
  node_ = table.node;
  version_ = table.version;
  for (auto& [id, group] : groups_) group.endpoint.reset();
  for (const GroupEndpoint& endpoint : table.groups) {
    Group& group = groups_[endpoint.group];
    group.endpoint = endpoint;
    group.fits = has_serving_weights(table, endpoint);
    mark_draining(group, now);
  }
  std::erase_if(groups_,
                [](const auto& entry) { return !entry.second.endpoint && !entry.second.link; });
  return true;
}

bool GroupTable::set_link(GroupId id, Incarnation incarnation, bool up) {
  if (!up) {
    const auto found = groups_.find(id);
    if (found == groups_.end() || found->second.link != incarnation) return false;
    found->second.link.reset();
    found->second.status.reset();
    return true;
  }
  Group& group = groups_[id];
  if (group.link == incarnation) return false;
  group.link = incarnation;
  group.status.reset();
  group.held_until = {};
  group.sent_tokens = group.sent_sequences = 0;
  return true;
}

bool GroupTable::link_is(GroupId id, Incarnation incarnation) const {
  const auto found = groups_.find(id);
  return found != groups_.end() && found->second.link == incarnation;
}

bool GroupTable::set_status(Time now, Incarnation incarnation, const GroupStatus& status) {
  if (!link_is(status.group, incarnation)) return false;
  Group& group = groups_.at(status.group);
  if (group.status && status.generation < group.status->generation) return false;
  group.status = status;
  group.status_at = now;
  group.sent_tokens = group.sent_sequences = 0;
  mark_draining(group, now);
  if (group.endpoint) mark_slow(group.endpoint->model, now);
  return true;
}

void GroupTable::mark_draining(Group& group, Time now) {
  const bool draining = (group.endpoint && group.endpoint->state == GroupState::draining) ||
                        (group.status && group.status->draining);
  if (!draining)
    group.draining.reset();
  else if (!group.draining)
    group.draining = now;
}

void GroupTable::mark_slow(const std::string& model, Time now) {
  std::vector<std::pair<Duration, Group*>> peers;
  for (auto& [id, group] : groups_)
    if (group.endpoint && group.endpoint->model == model && group.status &&
        group.status->step_p99 > Duration::zero())
      peers.emplace_back(group.status->step_p99, &group);
  std::sort(peers.begin(), peers.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  if (peers.empty()) return;
  const Duration median = peers[(peers.size() - 1) / 2].first;  // the lower one: of two, the faster
  for (auto& [p99, group] : peers) {
    if (p99 <= median * kSlowFactor)
      group->slow.reset();
    else if (!group->slow)
      group->slow = now;
  }
}

void GroupTable::generation_died(const Place& place) {
  const auto found = groups_.find(place.group);
  if (found != groups_.end()) found->second.dead = place;
}

bool GroupTable::is_dead(const Group& group, Incarnation process, Generation generation) {
  // A node that is started anew counts its generations from 1 again, in other processes.
  return group.dead && group.dead->incarnation == process && group.dead->generation >= generation;
}

void GroupTable::hold(GroupId id, Time until) {
  const auto found = groups_.find(id);
  if (found != groups_.end()) found->second.held_until = std::max(found->second.held_until, until);
}

void GroupTable::add_queued(GroupId id, int64_t tokens, int32_t sequences) {
  Group& group = groups_.at(id);
  group.sent_tokens += tokens;
  group.sent_sequences += sequences;
}

bool GroupTable::knows_model(std::string_view model) const {
  return std::any_of(groups_.begin(), groups_.end(), [&](const auto& entry) {
    return entry.second.endpoint && entry.second.endpoint->model == model;
  });
}

bool GroupTable::may_serve(std::string_view model) const {
  return std::any_of(groups_.begin(), groups_.end(), [&](const auto& entry) {
    const auto& endpoint = entry.second.endpoint;
    if (!endpoint || endpoint->model != model || entry.second.draining) return false;
    return endpoint->state == GroupState::ready || endpoint->state == GroupState::starting ||
           endpoint->state == GroupState::suspect;
  });
}

std::string GroupTable::why_not_ready(GroupId id, Time now) const {
  const auto found = groups_.find(id);
  if (found == groups_.end()) return "it is not in the routing table";
  return why_not_ready(found->second, now);
}

std::string GroupTable::why_not_ready(const Group& group, Time now) const {
  if (!group.endpoint) return "it is not in the routing table";
  const GroupEndpoint& endpoint = *group.endpoint;
  if (endpoint.state != GroupState::ready)
    return endpoint.reason.empty() ? std::string("it is ") + std::string(name_of(endpoint.state))
                                   : endpoint.reason;
  if (!group.fits)
    return fmt::format("its file of {} is not that of most groups; give every node the same one",
                       endpoint.model);
  if (is_dead(group, endpoint.incarnation, endpoint.generation))
    return "its last step failed and it restarts";
  if (!group.link) return "there is no link to its process yet";
  if (endpoint.incarnation != Incarnation{} && *group.link != endpoint.incarnation)
    return "the link still leads to its former process";
  if (!group.status) return "it has not reported yet";
  const GroupStatus& status = *group.status;
  if (status.generation != endpoint.generation) return "it has not reported since its restart";
  if (status.draining) return "it is draining";
  if (now - group.status_at > limits_.scaled(kGroupStatusFresh))
    return fmt::format("it has not reported for {} ms", to_ms(now - group.status_at));
  const Duration deadline =
      std::clamp(status.step_p99 * kStepDeadlineFactor, kStepDeadlineMin, kStepDeadlineMax);
  if (status.step_running > limits_.scaled(deadline))
    return fmt::format("its step has been running for {} ms", to_ms(status.step_running));
  if (status.last_step_age > limits_.scaled(kStepProgressMax))
    return fmt::format("it has not finished a step for {} ms", to_ms(status.last_step_age));
  return {};
}

std::vector<GroupCandidate> GroupTable::candidates(std::string_view model, Time now) const {
  std::vector<GroupCandidate> found;
  for (const auto& [id, group] : groups_) {
    if (!group.endpoint || group.endpoint->model != model) continue;
    if (now < group.held_until || !why_not_ready(group, now).empty()) continue;
    GroupCandidate candidate;
    candidate.group = id;
    candidate.queued_tokens = group.status->queued_tokens + group.sent_tokens;
    candidate.sequences = group.status->queued + group.status->running + group.sent_sequences;
    candidate.slow = group.slow && now - *group.slow >= limits_.scaled(kSlowAfter);
    found.push_back(candidate);
  }
  return found;
}

std::optional<Place> GroupTable::place_of(GroupId id) const {
  const auto found = groups_.find(id);
  if (found == groups_.end() || !found->second.endpoint || !found->second.link) return std::nullopt;
  return Place{id, *found->second.link, found->second.endpoint->generation};
}

const GroupEndpoint* GroupTable::endpoint(GroupId id) const {
  const auto found = groups_.find(id);
  return found != groups_.end() && found->second.endpoint ? &*found->second.endpoint : nullptr;
}

const GroupStatus* GroupTable::status(GroupId id) const {
  const auto found = groups_.find(id);
  return found != groups_.end() && found->second.status ? &*found->second.status : nullptr;
}

bool GroupTable::alive(const Place& place) const {
  const auto found = groups_.find(place.group);
  if (found == groups_.end()) return false;
  const Group& group = found->second;
  if (!group.endpoint || group.link != place.incarnation) return false;
  if (group.endpoint->generation != place.generation) return false;
  if (is_dead(group, place.incarnation, place.generation)) return false;
  if (group.status && group.status->generation > place.generation) return false;
  const GroupState state = group.endpoint->state;
  return state == GroupState::ready || state == GroupState::draining ||
         state == GroupState::suspect;
}

std::optional<Time> GroupTable::draining_since(GroupId id) const {
  const auto found = groups_.find(id);
  return found == groups_.end() ? std::nullopt : found->second.draining;
}

std::optional<Time> GroupTable::next_hold_end(Time now) const {
  std::optional<Time> next;
  for (const auto& [id, group] : groups_)
    if (group.held_until > now && (!next || group.held_until < *next)) next = group.held_until;
  return next;
}

std::vector<ModelReadiness> GroupTable::readiness(Time now) const {
  std::map<std::string, ModelReadiness> models;
  for (const auto& [id, group] : groups_) {
    if (!group.endpoint) continue;
    ModelReadiness& model = models[group.endpoint->model];
    model.name = group.endpoint->model;
    ++model.groups;
    const std::string reason = why_not_ready(group, now);
    if (reason.empty())
      ++model.groups_ready;
    else
      model.reason +=
          fmt::format("{}group {}: {}", model.reason.empty() ? "" : "; ", id.value, reason);
  }
  std::vector<ModelReadiness> all;
  for (auto& [name, model] : models) all.push_back(std::move(model));
  return all;
}

}  // namespace troupe
