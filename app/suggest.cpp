#include "app/suggest.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "config/closest.h"

namespace troupe {

namespace {

std::vector<std::string> flags_of(const CLI::App& command) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  return flags;
}

}  // namespace

CLI::Validator one_of(std::vector<std::string> words) {
  std::string known;
  for (const std::string& word : words) known += (known.empty() ? "" : ", ") + word;
  return CLI::Validator(
      [words = std::move(words), known](std::string& given) -> std::string {
        if (std::find(words.begin(), words.end(), given) != words.end()) return {};
        const std::string meant = closest(given, words);
        return fmt::format("{} is not one of {}{}", given, known,
                           meant.empty() ? "" : fmt::format("; did you mean {}?", meant));
      },
      "ONE OF " + known);
}

std::string usage_error(const CLI::App& app, int argc, char** argv, const std::string& what) {
  std::vector<std::string> commands;
  for (const CLI::App* command : app.get_subcommands({})) commands.push_back(command->get_name());
  if (argc < 2) return "a command is needed; troupe --help lists them";
  const std::string first = argv[1];
  if (std::find(commands.begin(), commands.end(), first) == commands.end()) {
    const std::string meant = closest(first, commands);
    return fmt::format("there is no command {}{}; troupe --help lists them", first,
                       meant.empty() ? "" : fmt::format(", did you mean {}?", meant));
  }
  // Commands of commands: `troupe certs issue` has the flags of `issue`.
  const CLI::App* chosen = app.get_subcommand(first);
  std::string command = first;
  int next = 2;
  while (next < argc) {
    const auto inner = chosen->get_subcommands(
        [&](const CLI::App* candidate) { return candidate->get_name() == argv[next]; });
    if (inner.empty()) break;
    chosen = inner.front();
    command += fmt::format(" {}", argv[next++]);
  }
  const std::vector<std::string> flags = flags_of(*chosen);
  for (int i = next; i < argc; ++i) {
    std::string word = argv[i];
    if (!word.starts_with("--")) continue;
    word = word.substr(0, word.find('='));
    if (std::find(flags.begin(), flags.end(), word) != flags.end()) continue;
    const std::string meant = closest(word, flags);
    return fmt::format("troupe {} has no flag {}{}; troupe {} --help lists them", command, word,
                       meant.empty() ? "" : fmt::format(", did you mean {}?", meant), command);
  }
  return fmt::format("{}; troupe {} --help shows examples", what, command);
}

}  // namespace troupe
