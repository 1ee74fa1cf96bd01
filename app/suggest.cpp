#include "app/suggest.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

namespace troupe {

namespace {

size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

std::vector<std::string> flags_of(const CLI::App& command) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  return flags;
}

}  // namespace

std::string closest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = 3;
  for (const std::string& candidate : candidates)
    if (size_t d = distance(word, candidate); d < best_distance) {
      best_distance = d;
      best = candidate;
    }
  return best;
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
