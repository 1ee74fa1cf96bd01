// The one executable: `troupe COMMAND`. Exit codes: 0 done, 1 failed (one sentence on standard
// error says why), 2 wrong usage, 70 a child process failed.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "actors/child_process.h"
#include "app/commands.h"
#include "app/suggest.h"
#include "config/version.h"

int main(int argc, char** argv) {
  using namespace troupe;
  // Started by a node only; the lifeline is descriptor 3. Kept out of the option parser and of
  // --help.
  if (argc == 3 && std::string_view(argv[1]) == "child") return run_child(3);

  CLI::App app{
      "Troupe: an actor-based inference cluster. Serves language models over an OpenAI-compatible "
      "HTTP API."};
  app.name("troupe");
  app.require_subcommand(1);
  app.set_version_flag("--version", kVersion);
  app.footer("Try: troupe serve model.gguf        then: troupe chat");
  Command chosen;
  add_serve(app, chosen);
  add_node(app, chosen);
  add_up(app, chosen);
  add_status(app, chosen);
  add_chat(app, chosen);
  add_tokenize(app, chosen);
  add_bench(app, chosen);
  add_check_config(app, chosen);
  add_certs(app, chosen);
  add_version(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& e) {
    return app.exit(e);
  } catch (const CLI::CallForVersion& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    std::fprintf(stderr, "troupe: %s\n", usage_error(app, argc, argv, e.what()).c_str());
    return 2;
  }
  auto done = chosen();
  if (done) return *done;
  std::fprintf(stderr, "troupe: %s\n", done.error().message.c_str());
  return 1;
}
