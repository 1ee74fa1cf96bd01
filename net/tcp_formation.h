// Connects the ranks of one generation pairwise over TLS. Rule: each rank dials all lower ones and
// listens for all higher ones; after the handshake both say which rank of which group they are. One
// thread; bounded by the given time; at most kTcpUnauthenticatedMax sockets that have yet to prove
// themselves (the oldest goes first), each for kTcpHandshakeTimeout as the group stretches it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/host_port.h"
#include "config/result.h"
#include "config/time.h"
#include "net/file_descriptor.h"
#include "net/group_key.h"
#include "net/stop_signal.h"
#include "net/tls_pipe.h"

namespace troupe {

/// What a rank learns from its group's head.
struct TcpGroup {
  std::string name;  ///< of the group; with the generation the PSK's identity
  uint32_t generation = 0;
  int rank = 0;
  std::vector<HostPort> addresses;  ///< IP addresses by rank; where each listens
  GroupKey key;
  double timing_scale = 1;  ///< stretches kTcpHandshakeTimeout
};

/// A rank's own listener for one generation, made before the head can tell the others its address.
/// The first free port of `ports` ({0, 0}: any). conflict when all are taken.
Result<FileDescriptor> listen_for_ranks(const std::string& host, PortRange ports, HostPort& bound);

/// Pipes by rank, the own one empty. deadline_exceeded names the ranks that are missing and why;
/// aborted when `stop` was raised; invalid_argument for addresses that are none. Closes the
/// listener.
Result<std::vector<std::optional<TlsPipe>>> connect_ranks(const TcpGroup& group,
                                                          FileDescriptor listener,
                                                          const StopSignal& stop, Duration allowed);

}  // namespace troupe
