#include "cluster/supervision.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/check.h"
#include "config/limits.h"
#include "config/mix.h"

namespace troupe {

std::string_view name_of(ChildState state) {
  switch (state) {
    case ChildState::starting:
      return "starting";
    case ChildState::running:
      return "running";
    case ChildState::backoff:
      return "backoff";
    case ChildState::failed:
      return "failed";
    case ChildState::stopped:
      return "stopped";
  }
  return "stopped";
}

const Supervision::Child* Supervision::find(const std::string& name) const {
  auto found = children_.find(name);
  return found == children_.end() ? nullptr : &found->second;
}

void Supervision::step(Time now, const SupervisionInput& input,
                       std::vector<SupervisionEffect>& out) {
  if (auto* add = std::get_if<supervision_in::Add>(&input)) {
    auto [at, is_new] = children_.emplace(add->child, Child{});
    TROUPE_CHECK(is_new, add->child);
    spawn(add->child, at->second, out);
  } else if (auto* spawned = std::get_if<supervision_in::Spawned>(&input)) {
    Child& child = children_.at(spawned->child);
    TROUPE_CHECK(child.spawning && child.pid == 0, spawned->child);
    child.spawning = false;
    child.on_exit = OnExit::count_death;
    child.incarnation = spawned->incarnation;
    child.pid = spawned->pid;
    child.started = now;
    child.restarts = child.spawns++;
    if (child.state == ChildState::stopped) {
      out.push_back(supervision_out::End{spawned->child, spawned->incarnation});
    } else {
      child.state = ChildState::running;
      out.push_back(supervision_out::Changed{spawned->child, ChildState::running, "spawned"});
    }
  } else if (auto* failed = std::get_if<supervision_in::SpawnFailed>(&input)) {
    Child& child = children_.at(failed->child);
    TROUPE_CHECK(child.spawning, failed->child);
    child.spawning = false;
    if (child.state == ChildState::starting) died(now, failed->child, child, failed->reason, out);
  } else if (auto* exited = std::get_if<supervision_in::Exited>(&input)) {
    on_exited(now, *exited, out);
  } else if (auto* stop = std::get_if<supervision_in::Stop>(&input)) {
    Child& child = children_.at(stop->child);
    if (child.state != ChildState::stopped) {
      child.state = ChildState::stopped;
      if (child.pid != 0) out.push_back(supervision_out::End{stop->child, child.incarnation});
    }
  } else if (auto* retire = std::get_if<supervision_in::Retire>(&input)) {
    Child& child = children_.at(retire->child);
    if (child.pid == 0)
      child.state = ChildState::stopped;
    else
      child.on_exit = OnExit::stay_stopped;
  } else if (auto* restart = std::get_if<supervision_in::Restart>(&input)) {
    Child& child = children_.at(restart->child);
    if (child.state == ChildState::running && child.on_exit != OnExit::stay_stopped) {
      child.on_exit = OnExit::start_again;
      out.push_back(supervision_out::End{restart->child, child.incarnation});
    } else if (child.state == ChildState::backoff || child.state == ChildState::failed) {
      child.retry_at = now;
    }
  }
  for (auto& [name, child] : children_)
    if ((child.state == ChildState::backoff || child.state == ChildState::failed) &&
        now >= child.retry_at)
      spawn(name, child, out);
}

void Supervision::spawn(const std::string& name, Child& child,
                        std::vector<SupervisionEffect>& out) {
  child.state = ChildState::starting;
  child.spawning = true;
  out.push_back(supervision_out::Spawn{name});
}

void Supervision::on_exited(Time now, const supervision_in::Exited& exited,
                            std::vector<SupervisionEffect>& out) {
  auto found = children_.find(exited.child);
  if (found == children_.end()) return;
  Child& child = found->second;
  if (child.pid == 0 || child.incarnation != exited.incarnation) return;
  child.pid = 0;
  if (child.state == ChildState::stopped || child.on_exit == OnExit::stay_stopped) {
    child.state = ChildState::stopped;
    out.push_back(supervision_out::Changed{exited.child, ChildState::stopped, exited.how});
  } else if (child.on_exit == OnExit::start_again) {
    out.push_back(supervision_out::Changed{exited.child, ChildState::starting, "asked to restart"});
    spawn(exited.child, child, out);
  } else {
    if (now - child.started >= kRestartWindow) child.in_a_row = 0;
    died(now, exited.child, child, exited.how, out);
  }
}

namespace {

/// Doubles from death to death. Children that fail together must not come back together: from the
/// second death on up to a quarter is taken off, drawn from the incarnation that died.
Duration back_off(const Supervision::Child& child) {
  const Duration full =
      std::min(kRespawnMax, kRespawnFirst * (int64_t{1} << std::min(child.in_a_row, 10)));
  if (child.in_a_row == 0) return full;
  const uint64_t drawn = mix64(child.incarnation.value, static_cast<uint64_t>(child.in_a_row));
  return full - full / 4 * static_cast<int64_t>(drawn % 1024) / 1024;
}

}  // namespace

void Supervision::died(Time now, const std::string& name, Child& child, std::string why,
                       std::vector<SupervisionEffect>& out) {
  child.last_error = why;
  while (!child.deaths.empty() && now - child.deaths.front() >= kRestartWindow)
    child.deaths.pop_front();
  child.deaths.push_back(now);
  if (static_cast<int>(child.deaths.size()) > kRestartBudget) {
    child.deaths.pop_front();
    child.state = ChildState::failed;
    child.retry_at = now + kFailedRetry;
  } else {
    child.state = ChildState::backoff;
    child.retry_at = now + back_off(child);
  }
  ++child.in_a_row;
  out.push_back(supervision_out::Changed{name, child.state, std::move(why)});
}

std::optional<Time> Supervision::deadline() const {
  std::optional<Time> earliest;
  for (const auto& [name, child] : children_)
    if (child.state == ChildState::backoff || child.state == ChildState::failed)
      if (!earliest || child.retry_at < *earliest) earliest = child.retry_at;
  return earliest;
}

void Supervision::check() const {
  for (const auto& [name, child] : children_) {
    TROUPE_CHECK(static_cast<int>(child.deaths.size()) <= kRestartBudget, name,
                 child.deaths.size());
    TROUPE_CHECK(std::is_sorted(child.deaths.begin(), child.deaths.end()), name);
    TROUPE_CHECK(!child.spawning || child.pid == 0, name, child.pid);
    TROUPE_CHECK(child.state != ChildState::running || child.pid != 0, name);
    TROUPE_CHECK(child.state != ChildState::starting || child.spawning, name);
    const bool waits = child.state == ChildState::backoff || child.state == ChildState::failed;
    TROUPE_CHECK(!waits || (child.pid == 0 && !child.spawning), name, child.pid);
  }
}

std::string died_too_often(const Supervision::Child& child) {
  return fmt::format("its shard process died {} times in {} s, tried again every {} s; last: {}",
                     kRestartBudget + 1, to_seconds(kRestartWindow), to_seconds(kFailedRetry),
                     child.last_error);
}

}  // namespace troupe
