// Says what was wrong with a command line and which flag or command was probably meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace troupe {

/// The closest candidate within two edits (Levenshtein), or empty.
std::string closest(std::string_view word, const std::vector<std::string>& candidates);

/// One sentence with a suggestion where there is one.
std::string usage_error(const CLI::App& app, int argc, char** argv, const std::string& what);

}  // namespace troupe
