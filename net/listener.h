// Binds listening TCP sockets. The node binds and passes them on, so that connections wait in the
// backlog while a router is respawned.
#pragma once

#include "config/host_port.h"
#include "config/result.h"

namespace troupe {

struct Listener {
  int fd = -1;
  HostPort address;  ///< with the real port when 0 was asked for
};

/// SO_REUSEADDR, backlog 4096, close-on-exec, non-blocking. conflict if the port is in use, with a
/// sentence.
Result<Listener> listen_tcp(const HostPort& address);

}  // namespace troupe
