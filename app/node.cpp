// troupe node: one node of a configured cluster; troupe check-config; troupe version.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "actors/build_id.h"
#include "actors/node_process.h"
#include "actors/state_dir.h"
#include "app/commands.h"
#include "app/suggest.h"
#include "config/cluster_config.h"

namespace troupe {

void add_node(CLI::App& app, Command& chosen) {
  struct Flags {
    std::string config, name, state, log = "text";
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* c = app.add_subcommand("node", "Run one node of a configured cluster");
  c->add_option("--config", flags->config, "Cluster config (docs/config.md)")->required();
  c->add_option("--name", flags->name, "Which node of the config this is")->required();
  c->add_option("--state", flags->state, "State directory; the node's own is a folder in it");
  c->add_option("--log", flags->log, "text or json")
      ->capture_default_str()
      ->check(one_of({"text", "json"}));
  c->footer("Example:\n  troupe node --config cluster.yaml --name n1");
  c->callback([flags, &chosen] {
    chosen = [flags]() -> Result<int> {
      auto config = load_cluster_config(flags->config);
      if (!config) return std::unexpected(config.error());
      NodeOptions options;
      const std::string instance = fmt::format("{}-{}", config->cluster, flags->name);
      options.config = std::move(*config);
      options.node = flags->name;
      options.state_dir =
          flags->state.empty() ? default_state_dir(instance) : flags->state + "/" + flags->name;
      options.log = flags->log == "json" ? LogFormat::json : LogFormat::text;
      if (auto ran = run_node(std::move(options)); !ran) return std::unexpected(ran.error());
      return 0;
    };
  });
}

void add_check_config(CLI::App& app, Command& chosen) {
  auto file = std::make_shared<std::string>();
  CLI::App* c =
      app.add_subcommand("check-config", "Check a cluster config and print it with all defaults");
  c->add_option("file", *file, "Cluster config (docs/config.md)")->required();
  c->footer("Example:\n  troupe check-config cluster.yaml");
  c->callback([file, &chosen] {
    chosen = [file]() -> Result<int> {
      auto config = load_cluster_config(*file);
      if (!config) return std::unexpected(config.error());
      std::fputs(print_cluster_config(*config).c_str(), stdout);
      return 0;
    };
  });
}

void add_version(CLI::App& app, Command& chosen) {
  CLI::App* c = app.add_subcommand("version", "Print version and build id");
  c->footer("Example:\n  troupe version");
  c->callback([&chosen] {
    chosen = []() -> Result<int> {
      std::printf("troupe %s\n", build_id().c_str());
      return 0;
    };
  });
}

}  // namespace troupe
