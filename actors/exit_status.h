// What waitpid says of a process, in words for logs and trees.
#pragma once

#include <fmt/format.h>
#include <sys/wait.h>

#include <cstring>
#include <string>

namespace troupe {

/// "exit status 70", "signal 9 (Killed)".
inline std::string how_it_ended(int status) {
  return WIFSIGNALED(status)
             ? fmt::format("signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)))
             : fmt::format("exit status {}", WEXITSTATUS(status));
}

}  // namespace troupe
