// AF_UNIX stream sockets in the state directory: the file's mode guards the door. Non-blocking,
// close-on-exec.
#pragma once

#include <string>

#include "config/result.h"

namespace troupe {

/// Binds `path` with mode 0600, replacing a stale socket file, and listens. One sentence on
/// failure, also when the path is longer than kUnixPathMax.
Result<int> listen_unix(const std::string& path);

/// Connected, or why not, with errno in the sentence. Never blocks: a full backlog is a failure.
Result<int> dial_unix(const std::string& path);

}  // namespace troupe
