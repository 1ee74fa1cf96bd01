// Who is in: the processes one node runs, which of their incarnations may speak, and why others may
// not. A process is expected from its spawn on, a member once its Hello is accepted, and lost from
// the moment its link breaks or it is judged dead: a lost incarnation never comes back. Pure; part
// of NodeSupervisor. Bounded by the configured processes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/failure_detector.h"
#include "cluster/messages.h"
#include "config/limits.h"
#include "config/result.h"

namespace troupe {

/// What a Hello must agree with.
struct MembershipTerms {
  std::string cluster, node, build;
  uint32_t wire_version = 0;
  Digest config_digest{};
};

enum class Standing : uint8_t {
  absent,    ///< no process
  expected,  ///< spawned, not accepted yet
  member,    ///< accepted: it may speak and is told
  lost,      ///< its link broke or it is silent; to be reaped
};
std::string_view name_of(Standing standing);

class Membership {
 public:
  struct Process {
    Role role = Role::client;
    Standing standing = Standing::absent;
    Incarnation incarnation;  ///< zero: absent
    Verdict verdict = Verdict::alive;
    Time hello_due{};  ///< while expected
  };
  /// What a Hello led to.
  enum class Admission : uint8_t { joined, repeated };

  explicit Membership(MembershipTerms terms) : terms_(std::move(terms)) {}

  /// A process of the configuration; without it a Hello under its name is refused.
  void add(const std::string& name, Role role);
  /// Spawned. Its Hello is due within kHelloTimeout x `timing_scale`.
  void spawned(Time now, const std::string& name, Incarnation incarnation, double timing_scale);
  /// Reaped. False: it was another incarnation.
  bool reaped(const std::string& name, Incarnation incarnation);
  /// Its link broke or it is dead. True: it was expected or a member until now.
  bool lose(const std::string& name, Incarnation incarnation);
  /// The failure detector's verdict; dead: lost. True: it is news of a process expected or in.
  bool judge(const std::string& name, Incarnation incarnation, Verdict verdict);
  /// By judge_hello() and what this node knows of the process. Refused: a clause for people on
  /// both sides.
  Result<Admission> greet(const Hello& hello);
  /// Expected ones whose Hello is overdue.
  std::vector<std::string> overdue(Time now) const;
  std::optional<Time> deadline() const;

  bool is_member(const std::string& name, Incarnation incarnation) const;
  /// Any standing but absent.
  bool is_current(const std::string& name, Incarnation incarnation) const;
  const Process* find(const std::string& name) const;
  const std::map<std::string, Process>& processes() const { return processes_; }

  /// Keeps the last report of a member. False: it is not its own.
  bool report(const std::string& name, Incarnation incarnation, const ProcessReport& report);
  /// The last of each process, also of former incarnations.
  const std::map<std::string, ProcessReport>& reports() const { return reports_; }
  /// Of the process that runs now, or null.
  const ProcessReport* current_report(const std::string& name) const;
  uint64_t refused() const { return refused_; }
  void check() const;

 private:
  Result<void> judge_sender(const Hello& hello) const;

  MembershipTerms terms_;
  std::map<std::string, Process> processes_;
  std::map<std::string, ProcessReport> reports_;
  uint64_t refused_ = 0;
};

}  // namespace troupe
