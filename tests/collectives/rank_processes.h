// Ranks of one group as forked processes of the test, over one of the planes. The parent hears from
// each and may stop or kill it. Fork before the test has threads.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/collective.h"
#include "net/shm_map.h"

namespace troupe::testing {

/// `mixed`: the ranks on two pretended hosts, shm inside each, tcp between them.
enum class Plane { shm, tcp, mixed };
std::string to_string(Plane plane);

inline constexpr uint32_t kTestGeneration = 7;

/// What a rank can tell its parent.
class Parent {
 public:
  explicit Parent(int pipe) : pipe_(pipe) {}
  void tell(const std::string& line) const;

 private:
  int pipe_;
};

class RankProcesses {
 public:
  /// Returns what the parent then hears as the rank's outcome.
  using Body = std::function<std::string(Collective&, const Parent&)>;

  RankProcesses(Plane plane, int ranks, const Body& body);
  /// Kills whoever is left.
  ~RankProcesses();
  RankProcesses(const RankProcesses&) = delete;
  RankProcesses& operator=(const RankProcesses&) = delete;

  /// The next line that `rank` told, its outcome being the last one; "ended" when it is no more.
  std::string hear(int rank);
  void signal(int rank, int signal);
  /// As the supervisor of a host does when a rank of it dies.
  void abort_generation(int host) const;

 private:
  struct Child {
    pid_t pid = -1;
    int pipe = -1;
    std::string heard;
  };
  std::vector<std::shared_ptr<ShmMap>> maps_;  ///< by host; null where one rank is alone
  std::vector<Child> children_;
};

/// "" when all ranks' outcome is "fine", else the first other one.
std::string first_complaint(Plane plane, int ranks, const RankProcesses::Body& body);

/// A tag with room for a slow machine.
CallTag tag(uint32_t seq, Duration deadline = 30s);

/// "deadline_exceeded: message", or "fine".
std::string told(const Result<void>& result);

}  // namespace troupe::testing
