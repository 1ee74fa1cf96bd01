// Says what was wrong with a command line and which flag or command was probably meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class Validator;
}  // namespace CLI

namespace troupe {

/// Takes one of `words`; refuses with the one that was probably meant.
CLI::Validator one_of(std::vector<std::string> words);

/// One sentence with a suggestion where there is one.
std::string usage_error(const CLI::App& app, int argc, char** argv, const std::string& what);

}  // namespace troupe
