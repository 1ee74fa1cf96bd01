#include "app/tree_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

namespace troupe {

namespace {

/// How a row hangs on the one above it, and what stands before the rows below it.
struct Branch {
  const char *row, *below;
};
Branch branch(size_t i, size_t of) {
  return i + 1 < of ? Branch{"├─ ", "│  "} : Branch{"└─ ", "   "};
}

/// `width` of the name's column: one level further in it is narrower by a branch.
void add_row(std::string& out, const std::string& stem, const Branch& at, const ActorStatus& a,
             int width) {
  out += fmt::format("{}{}{:<{}} {:<9} pid {:<7}", stem, at.row, a.id, width, a.state, a.pid);
  if (a.restarts) out += fmt::format(" restarts {}", a.restarts);
  if (a.role == Role::shard && a.generation) out += fmt::format(" generation {}", a.generation);
  if (a.role == Role::shard || a.role == Role::batcher)
    out += fmt::format(" last step {} ms ago", to_ms(a.last_step_age));
  if (a.mailbox_age > 100ms) out += fmt::format(" mailbox {} ms late", to_ms(a.mailbox_age));
  out += "\n";
}

void add_texts(std::string& out, const std::string& stem, const ActorStatus& a) {
  if (!a.reason.empty()) out += fmt::format("{}    {}\n", stem, a.reason);
  if (!a.describe.empty()) out += fmt::format("{}    {}\n", stem, a.describe);
  if (!a.last_error.empty()) out += fmt::format("{}    last error: {}\n", stem, a.last_error);
}

/// Rows of one process: the first is the process, the others its actors.
void add_process(std::string& out, const std::string& stem, const Branch& at,
                 std::span<const ActorStatus> rows) {
  add_row(out, stem, at, rows[0], 32);
  const std::string below = stem + at.below;
  add_texts(out, rows.size() > 1 ? below + "│" : below + " ", rows[0]);
  for (size_t i = 1; i < rows.size(); ++i) {
    const Branch inner = branch(i, rows.size());
    add_row(out, below, inner, rows[i], 29);
    add_texts(out, below + inner.below, rows[i]);
  }
}

/// An actor that shares the pid of the row before it lives in that process.
std::vector<std::span<const ActorStatus>> processes_of(std::span<const ActorStatus> rows) {
  std::vector<std::span<const ActorStatus>> processes;
  for (size_t first = 0, end = 0; first < rows.size(); first = end) {
    for (end = first + 1;
         end < rows.size() && rows[first].pid != 0 && rows[end].pid == rows[first].pid;)
      ++end;
    processes.push_back(rows.subspan(first, end - first));
  }
  return processes;
}

}  // namespace

std::string render_tree(const ClusterTree& tree) {
  std::string out = fmt::format(
      "cluster {}{}\n", tree.cluster,
      tree.leader.empty() ? "" : fmt::format(", leader {} (term {})", tree.leader, tree.term));
  for (size_t n = 0; n < tree.nodes.size(); ++n) {
    const NodeTree& node = tree.nodes[n];
    const Branch at = branch(n, tree.nodes.size());
    out += fmt::format("{}node {}  {}{}{}\n", at.row, node.name, node.state,
                       node.reason.empty() ? "" : ": " + node.reason,
                       node.config_differs ? " (its config is another one)" : "");
    const auto processes = processes_of(node.actors);
    for (size_t p = 0; p < processes.size(); ++p)
      add_process(out, at.below, branch(p, processes.size()), processes[p]);
  }
  return out;
}

}  // namespace troupe
