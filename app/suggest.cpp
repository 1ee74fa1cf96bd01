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
  const std::string command = argv[1];
  if (std::find(commands.begin(), commands.end(), command) == commands.end()) {
    const std::string meant = closest(command, commands);
    return fmt::format("there is no command {}{}; troupe --help lists them", command,
                       meant.empty() ? "" : fmt::format(", did you mean {}?", meant));
  }
  const std::vector<std::string> flags = flags_of(*app.get_subcommand(command));
  for (int i = 2; i < argc; ++i) {
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
