// AF_UNIX stream sockets in the state directory: the file's mode guards the door. Non-blocking,
// close-on-exec.
#pragma once

#include <string>
#include <string_view>

#include "config/result.h"

namespace troupe {

/// Binds `path` with mode 0600, replacing a stale socket file, and listens. One sentence on
/// failure, also when the path is longer than kUnixPathMax.
Result<int> listen_unix(const std::string& path);

/// Connected, or why not, with errno in the sentence. Never blocks: a full backlog is a failure.
/// `speaker`: for whom it speaks, up to 64 bytes; the other end learns it by unix_speaker(). Only
/// who may open the socket at all can name one, and a link names the node that its peer proved to
/// be.
Result<int> dial_unix(const std::string& path, std::string_view speaker = {});

/// Whom the other end of this accepted connection speaks for; empty: it named nobody.
std::string unix_speaker(int socket);

}  // namespace troupe
