// The node processes of `troupe up`. Each is this very image, executed through a descriptor opened
// at start, in a process group of its own (a Ctrl-C in the terminal reaches `up` only), and dies
// with this process (PDEATHSIG; its own children follow it). Lives on the MAIN thread and only
// there, because PDEATHSIG follows the forking thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "config/ids.h"
#include "config/result.h"
#include "config/time.h"

namespace troupe {

/// A line of a node's standard output, without its end; at most kNodeLineBytesMax of it.
struct NodeLine {
  std::string node, line;
};
/// Reaped.
struct NodeEnded {
  std::string node;
  Incarnation incarnation;
  std::string how;  ///< "exit status 1", "signal 9 (Killed)"
};
struct SignalCame {
  int number = 0;  ///< SIGINT, SIGTERM or SIGHUP
};
using NodeEvent = std::variant<NodeLine, NodeEnded, SignalCame>;

class NodeChildren {
 public:
  /// block_signals() comes first. `flags` follow `troupe node --name NAME` of each.
  explicit NodeChildren(std::vector<std::string> flags);
  ~NodeChildren();  ///< kills and reaps what is left
  NodeChildren(const NodeChildren&) = delete;
  NodeChildren& operator=(const NodeChildren&) = delete;

  /// The pid; internal when there are no descriptors or processes left.
  Result<int64_t> start(const std::string& node, Incarnation incarnation);
  /// Nothing if there is no such process any more.
  void signal(const std::string& node, int number);
  void signal_all(int number);

  /// Sleeps until something happens, or until `at`; then there may be nothing in it.
  std::vector<NodeEvent> wait(std::optional<Time> at);

 private:
  struct Child {
    Incarnation incarnation;
    int pid = 0, pidfd = -1, output = -1;
    std::string line;  ///< begun
  };
  void read_output(const std::string& node, Child& child, std::vector<NodeEvent>& out);
  void reap(std::map<std::string, Child>::iterator at, std::vector<NodeEvent>& out);

  std::vector<std::string> flags_;
  int image_ = -1, signals_ = -1;
  std::map<std::string, Child> children_;
};

}  // namespace troupe
