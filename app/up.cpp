// troupe up: every node of a config on this host, for trying a cluster and for tests.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <set>

#include "actors/log.h"
#include "actors/spawner.h"
#include "app/commands.h"
#include "app/node_children.h"
#include "app/suggest.h"
#include "cluster/supervision.h"
#include "config/cluster_config.h"
#include "net/certs_folder.h"
#include "net/clock.h"

namespace troupe {

namespace {

/// The shell of Supervision for whole nodes: same back-off, same budget as a node has for its own
/// processes.
class Up {
 public:
  Up(const ClusterConfig& config, std::vector<std::string> flags)
      : config_(config), started_(steady_now()), children_(std::move(flags)) {}

  /// Until every node is gone: 0, or why a node could not start at all.
  Result<int> run() {
    for (const NodeConfig& node : config_.nodes) feed(supervision_in::Add{node.name});
    while (!all_gone()) {
      for (const NodeEvent& event : children_.wait(next_look())) handle(event);
      if (kill_at_ && steady_now() >= *kill_at_) {
        children_.signal_all(SIGKILL);
        kill_at_.reset();
      }
      feed(supervision_in::Tick{});
    }
    if (refusal_) return std::unexpected(*refusal_);
    return 0;
  }

 private:
  void handle(const NodeEvent& event) {
    if (const auto* line = std::get_if<NodeLine>(&event)) {
      std::printf("%s\n", line->line.c_str());
      std::fflush(stdout);
      if (line->line.starts_with("ready ")) answers(line->node);
    } else if (const auto* ended = std::get_if<NodeEnded>(&event)) {
      // A node that refuses to start has said why on standard error, and would again.
      const Supervision::Child& child = supervision_.children().at(ended->node);
      if (child.restarts == 0 && ended->how == "exit status 1" && !refusal_) {
        refusal_ = Error{ErrorCode::unavailable,
                         fmt::format("node {} could not start, for the reason above; mend that and "
                                     "start troupe up again",
                                     ended->node),
                         ""};
        end_all();
      }
      feed(supervision_in::Exited{ended->node, ended->incarnation, ended->how});
    } else if (const int number = std::get<SignalCame>(event).number; number == SIGHUP) {
      children_.signal_all(SIGHUP);
    } else if (ending_) {
      log_event(LogLevel::info, "told again to end: the nodes end at once");
      children_.signal_all(SIGTERM);
      kill_at_ = steady_now() + kNodeEndMax;
    } else {
      log_event(LogLevel::info, "told to end: the nodes drain");
      end_all();
    }
  }

  void end_all() {
    ending_ = true;
    kill_at_ = steady_now() + config_.limits.drain + kNodeEndMax;
    for (const NodeConfig& node : config_.nodes) feed(supervision_in::Stop{node.name});
  }

  /// Said once, when each router of the config has been ready.
  void answers(const std::string& node) {
    answering_.insert(node);
    for (const RouterListen& router : config_.routers)
      if (!answering_.contains(router.node)) return;
    if (std::exchange(said_ready_, true)) return;
    log_event(LogLevel::info, "every router answers",
              {{"after", fmt::format("{:.2f} s", to_seconds(steady_now() - started_))}});
  }

  void feed(const SupervisionInput& input) {
    std::vector<SupervisionEffect> effects;
    supervision_.step(steady_now(), input, effects);
    for (const SupervisionEffect& effect : effects) perform(effect);
  }

  void perform(const SupervisionEffect& effect) {
    if (const auto* spawn = std::get_if<supervision_out::Spawn>(&effect)) {
      const Incarnation incarnation(++spawns_);
      if (auto pid = children_.start(spawn->child, incarnation))
        feed(supervision_in::Spawned{spawn->child, incarnation, *pid});
      else
        feed(supervision_in::SpawnFailed{spawn->child, pid.error().message});
    } else if (const auto* end = std::get_if<supervision_out::End>(&effect)) {
      children_.signal(end->child, SIGTERM);
    } else {
      const auto& changed = std::get<supervision_out::Changed>(effect);
      log_event(changed.state == ChildState::backoff || changed.state == ChildState::failed
                    ? LogLevel::warning
                    : LogLevel::info,
                fmt::format("node {} is {}", changed.child, name_of(changed.state)),
                {{"why", changed.why}});
    }
  }

  bool all_gone() const {
    return ending_ && std::ranges::all_of(supervision_.children(),
                                          [](const auto& child) { return child.second.gone(); });
  }

  std::optional<Time> next_look() const {
    std::optional<Time> at = supervision_.deadline();
    if (kill_at_ && (!at || *kill_at_ < *at)) at = kill_at_;
    return at;
  }

  const ClusterConfig& config_;
  const Time started_;
  NodeChildren children_;
  Supervision supervision_;
  uint64_t spawns_ = 0;
  std::set<std::string> answering_;  ///< nodes whose router was ready
  bool ending_ = false, said_ready_ = false;
  std::optional<Time> kill_at_;
  std::optional<Error> refusal_;
};

struct UpFlags {
  std::string config, state, log = "text";
};

Result<int> up(const UpFlags& flags) {
  auto config = load_cluster_config(flags.config);
  if (!config) return std::unexpected(config.error());
  if (config->nodes.size() > 1) {
    std::vector<std::string> names;
    for (const NodeConfig& node : config->nodes) names.push_back(node.name);
    if (auto there = check_node_files(config->certs, names); !there)
      return std::unexpected(there.error());
  }
  std::vector<std::string> passed = {"--config", flags.config, "--log", flags.log};
  if (!flags.state.empty()) passed.insert(passed.end(), {"--state", flags.state});
  block_signals();
  start_log(flags.log == "json" ? LogFormat::json : LogFormat::text, "up");
  return Up(*config, std::move(passed)).run();
}

}  // namespace

void add_up(CLI::App& app, Command& chosen) {
  auto flags = std::make_shared<UpFlags>();
  CLI::App* c = app.add_subcommand("up", "Run every node of a config on this host");
  c->add_option("--config", flags->config, "Cluster config (docs/config.md)")->required();
  c->add_option("--state", flags->state,
                "State directory; each node's own is a folder in it (default: under "
                "$XDG_STATE_HOME/troupe)");
  c->add_option("--log", flags->log, "text or json")
      ->capture_default_str()
      ->check(one_of({"text", "json"}));
  c->footer(
      "Examples:\n  troupe up --config cluster.yaml\n  troupe up --config cluster.yaml --state "
      "/tmp/trial --log json\n"
      "Prints `ready http://HOST:PORT` for each router once it can answer. A node that dies is "
      "started again. Ctrl-C drains and ends all of them; a second one ends them at once.");
  c->callback([flags, &chosen] { chosen = [flags] { return up(*flags); }; });
}

}  // namespace troupe
