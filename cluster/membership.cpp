#include "cluster/membership.h"

#include <fmt/format.h>

#include "cluster/hello_rules.h"
#include "config/check.h"

namespace troupe {

std::string_view name_of(Standing standing) {
  switch (standing) {
    case Standing::absent:
      return "absent";
    case Standing::expected:
      return "expected";
    case Standing::member:
      return "member";
    case Standing::lost:
      return "lost";
  }
  return "lost";
}

void Membership::add(const std::string& name, Role role) {
  auto [at, is_new] = processes_.try_emplace(name);
  TROUPE_CHECK(is_new, name);
  at->second.role = role;
}

void Membership::spawned(Time now, const std::string& name, Incarnation incarnation,
                         double timing_scale) {
  Process& process = processes_.at(name);
  TROUPE_CHECK(process.standing == Standing::absent, name, name_of(process.standing));
  process.standing = Standing::expected;
  process.incarnation = incarnation;
  process.verdict = Verdict::alive;
  process.hello_due = now + scaled(kHelloTimeout, timing_scale);
}

bool Membership::reaped(const std::string& name, Incarnation incarnation) {
  if (!is_current(name, incarnation)) return false;
  Process& process = processes_.at(name);
  const Role role = process.role;
  process = Process();
  process.role = role;
  return true;
}

bool Membership::lose(const std::string& name, Incarnation incarnation) {
  if (!is_current(name, incarnation)) return false;
  Process& process = processes_.at(name);
  if (process.standing == Standing::lost) return false;
  process.standing = Standing::lost;
  return true;
}

bool Membership::judge(const std::string& name, Incarnation incarnation, Verdict verdict) {
  if (!is_current(name, incarnation)) return false;
  Process& process = processes_.at(name);
  if (process.standing == Standing::lost || process.verdict == verdict) return false;
  process.verdict = verdict;
  if (verdict == Verdict::dead) process.standing = Standing::lost;
  return true;
}

Result<void> Membership::judge_sender(const Hello& hello) const {
  HelloTerms terms{.cluster = terms_.cluster,
                   .build = terms_.build,
                   .wire_version = terms_.wire_version,
                   .config_digest = terms_.config_digest};
  const Process* process = find(hello.process);
  if (process) {
    terms.role = process->role;
    terms.incarnation = process->incarnation;
  }
  if (auto agrees = judge_hello(hello, terms); !agrees) return agrees;
  if (!process || hello.node != terms_.node)
    return fail(ErrorCode::invalid_argument,
                fmt::format("process {} of node {} is not part of node {}: name it in the config",
                            hello.process, hello.node, terms_.node));
  if (process->standing == Standing::lost)
    return fail(ErrorCode::invalid_argument,
                "this node has given it up and starts another one: end it");
  return {};
}

Result<Membership::Admission> Membership::greet(const Hello& hello) {
  if (auto agrees = judge_sender(hello); !agrees) {
    ++refused_;
    return std::unexpected(agrees.error());
  }
  Process& process = processes_.at(hello.process);
  if (process.standing == Standing::member) return Admission::repeated;
  process.standing = Standing::member;
  return Admission::joined;
}

std::vector<std::string> Membership::overdue(Time now) const {
  std::vector<std::string> names;
  for (const auto& [name, process] : processes_)
    if (process.standing == Standing::expected && now >= process.hello_due) names.push_back(name);
  return names;
}

std::optional<Time> Membership::deadline() const {
  std::optional<Time> earliest;
  for (const auto& [name, process] : processes_)
    if (process.standing == Standing::expected && (!earliest || process.hello_due < *earliest))
      earliest = process.hello_due;
  return earliest;
}

bool Membership::is_member(const std::string& name, Incarnation incarnation) const {
  const Process* process = find(name);
  return process && process->standing == Standing::member && process->incarnation == incarnation;
}

bool Membership::is_current(const std::string& name, Incarnation incarnation) const {
  const Process* process = find(name);
  return process && process->standing != Standing::absent && process->incarnation == incarnation;
}

const Membership::Process* Membership::find(const std::string& name) const {
  auto found = processes_.find(name);
  return found == processes_.end() ? nullptr : &found->second;
}

bool Membership::report(const std::string& name, Incarnation incarnation,
                        const ProcessReport& report) {
  if (!is_member(name, incarnation) || report.process != name || report.incarnation != incarnation)
    return false;
  reports_[name] = report;
  return true;
}

const ProcessReport* Membership::current_report(const std::string& name) const {
  auto found = reports_.find(name);
  return found != reports_.end() && is_current(name, found->second.incarnation) ? &found->second
                                                                                : nullptr;
}

void Membership::check() const {
  TROUPE_CHECK(processes_.size() <= kPeersMax, processes_.size());
  for (const auto& [name, process] : processes_) {
    TROUPE_CHECK(!name.empty());
    TROUPE_CHECK((process.standing == Standing::absent) == (process.incarnation == Incarnation()),
                 name, name_of(process.standing));
    TROUPE_CHECK(process.verdict != Verdict::dead || process.standing == Standing::lost, name,
                 name_of(process.standing));
  }
  for (const auto& [name, report] : reports_)
    TROUPE_CHECK(processes_.contains(name) && report.process == name, name, report.process);
}

}  // namespace troupe
