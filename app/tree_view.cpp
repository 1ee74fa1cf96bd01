#include "app/tree_view.h"

#include <fmt/format.h>

namespace troupe {

namespace {

std::string line_of(const ActorStatus& a, int width) {
  std::string line = fmt::format("{:<{}} {:<9} pid {:<7}", a.id, width, a.state, a.pid);
  if (a.restarts) line += fmt::format(" restarts {}", a.restarts);
  if (a.role == Role::shard && a.generation) line += fmt::format(" generation {}", a.generation);
  if (a.role == Role::shard || a.role == Role::batcher)
    line += fmt::format(" last step {} ms ago", to_ms(a.last_step_age));
  if (a.mailbox_age > 100ms) line += fmt::format(" mailbox {} ms late", to_ms(a.mailbox_age));
  if (!a.reason.empty()) line += fmt::format("\n       {}", a.reason);
  if (!a.describe.empty()) line += fmt::format("\n       {}", a.describe);
  if (!a.last_error.empty()) line += fmt::format("\n       last error: {}", a.last_error);
  return line + "\n";
}

}  // namespace

std::string render_tree(const ClusterTree& tree) {
  std::string out = fmt::format(
      "cluster {}{}\n", tree.cluster,
      tree.leader.empty() ? "" : fmt::format(", leader {} (term {})", tree.leader, tree.term));
  for (const NodeTree& node : tree.nodes) {
    out += fmt::format("└─ node {}  {}{}{}\n", node.name, node.state,
                       node.reason.empty() ? "" : ": " + node.reason,
                       node.config_differs ? " (its config is another one)" : "");
    for (size_t i = 0; i < node.actors.size(); ++i) {
      const ActorStatus& actor = node.actors[i];
      // An actor that shares the pid of the row before it lives in that process.
      const bool inner = i > 0 && actor.pid == node.actors[i - 1].pid && actor.pid != 0;
      const bool last = i + 1 == node.actors.size();
      out += fmt::format("   {} {}{}", last ? "└─" : "├─", inner ? "└─ " : "",
                         line_of(actor, inner ? 29 : 32));
    }
  }
  return out;
}

}  // namespace troupe
