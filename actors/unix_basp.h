// CAF's actor protocol (BASP) over AF_UNIX stream sockets in the state directory: no TCP port is
// ever opened and the file mode (0600) guards the door. One of these per process, beside CAF's own
// middleman.
#pragma once

#include <caf/all.hpp>
#include <string>

#include "config/result.h"
#include "config/time.h"

namespace troupe {

/// Answers publish_atom, connect_atom and get_atom as CAF's middleman actor does; "host" is a
/// socket path, ports are ignored. The host of a node that dialed this process is whom its
/// connection speaks for (unix_speaker): the name of another host's node, as its certificate has
/// it, or empty.
caf::actor spawn_unix_middleman(caf::actor_system& system);

/// Listens at `path` (replacing a stale socket file) and makes `service` the actor that peers get.
/// Blocks for at most 3 s. conflict if it can't bind, with a sentence.
Result<void> publish_unix(caf::actor_system& system, const caf::actor& middleman,
                          const caf::actor& service, const std::string& path);

}  // namespace troupe
