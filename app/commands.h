// The commands of the executable. Each add_*() declares its options on `app` and, when the user
// picks it, sets `chosen` to what runs it: the exit code, or an error that main prints in one
// sentence.
#pragma once

#include <functional>

#include "config/result.h"

namespace CLI {
class App;
}

namespace troupe {

using Command = std::function<Result<int>()>;

void add_serve(CLI::App& app, Command& chosen);
void add_node(CLI::App& app, Command& chosen);
void add_up(CLI::App& app, Command& chosen);
void add_status(CLI::App& app, Command& chosen);
void add_chat(CLI::App& app, Command& chosen);
void add_tokenize(CLI::App& app, Command& chosen);
void add_bench(CLI::App& app, Command& chosen);
void add_check_config(CLI::App& app, Command& chosen);
void add_certs(CLI::App& app, Command& chosen);
void add_version(CLI::App& app, Command& chosen);

}  // namespace troupe
