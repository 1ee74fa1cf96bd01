// troupe status: the actor tree of a running node.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>

#include "actors/state_dir.h"
#include "app/commands.h"
#include "app/tree_view.h"
#include "config/cluster_config.h"
#include "net/client_json.h"
#include "net/http_client.h"

namespace troupe {

namespace {

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

/// endpoint.json files at most two folders below `root` whose node still runs.
std::vector<Endpoint> running_nodes(const std::string& root) {
  std::vector<Endpoint> found;
  std::error_code error;
  for (auto at = std::filesystem::recursive_directory_iterator(root, error);
       at != std::filesystem::recursive_directory_iterator(); at.increment(error)) {
    if (error) break;
    if (at.depth() >= 2) at.disable_recursion_pending();
    if (at->path().filename() != "endpoint.json") continue;
    auto endpoint = parse_endpoint(read_file(at->path().string()));
    if (endpoint && (::kill(static_cast<pid_t>(endpoint->pid), 0) == 0 || errno == EPERM))
      found.push_back(std::move(*endpoint));
  }
  return found;
}

Result<Endpoint> find_node(const std::string& state, const std::string& config) {
  std::string root = state.empty() ? default_state_dir("") : state;
  std::string cluster;
  if (!config.empty()) {
    auto loaded = load_cluster_config(config);
    if (!loaded) return std::unexpected(loaded.error());
    cluster = loaded->cluster;
  }
  std::vector<Endpoint> found = running_nodes(root);
  if (!cluster.empty())
    std::erase_if(found, [&](const Endpoint& e) { return e.cluster != cluster; });
  if (found.empty())
    return fail(ErrorCode::not_found,
                fmt::format("no running node was found under {}; start one with troupe serve or "
                            "troupe node, or give its --state",
                            root));
  // Any node of a cluster shows all of it.
  std::set<std::string> nodes;
  const bool one_cluster = std::ranges::all_of(found, [&](const Endpoint& e) {
    return e.cluster == found.front().cluster && nodes.insert(e.node).second;
  });
  if (!one_cluster) {
    std::string names;
    for (const Endpoint& e : found)
      names += fmt::format("{}{} ({})", names.empty() ? "" : ", ", e.cluster,
                           std::filesystem::path(e.token_path).parent_path().string());
    return fail(ErrorCode::invalid_argument,
                fmt::format("several nodes run: {}; choose one with --state DIRECTORY", names));
  }
  return found.front();
}

}  // namespace

void add_status(CLI::App& app, Command& chosen) {
  struct Flags {
    std::string state, config;
    bool json = false;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* c = app.add_subcommand("status", "Show the actor tree of a running node");
  c->add_option("--state", flags->state, "State directory of the node");
  c->add_option("--config", flags->config, "Cluster config: picks the node of that cluster");
  c->add_flag("--json", flags->json, "The tree as JSON, as /admin/tree gives it");
  c->footer("Examples:\n  troupe status\n  troupe status --json --state /var/lib/troupe");
  c->callback([flags, &chosen] {
    chosen = [flags]() -> Result<int> {
      auto endpoint = find_node(flags->state, flags->config);
      if (!endpoint) return std::unexpected(endpoint.error());
      auto client =
          HttpClient::make(endpoint->admin, read_file(endpoint->token_path).substr(0, 64));
      if (!client) return std::unexpected(client.error());
      auto answer = client->get("/admin/tree", 5s);
      if (!answer) return std::unexpected(answer.error());
      if (answer->status != 200) return fail(ErrorCode::unavailable, error_sentence(answer->body));
      if (flags->json) {
        std::printf("%s\n", answer->body.c_str());
        return 0;
      }
      auto tree = parse_status(answer->body);
      if (!tree) return std::unexpected(tree.error());
      std::fputs(render_tree(*tree).c_str(), stdout);
      for (const std::string& http : endpoint->http) std::printf("answers at %s\n", http.c_str());
      return 0;
    };
  });
}

}  // namespace troupe
