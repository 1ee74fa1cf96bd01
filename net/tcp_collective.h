// The Collective of CPU ranks on several hosts: TLS 1.3 with a key of the generation, so that a
// stale one can't even connect.
//
//   rank: listener = listen_for_ranks(host, data_ports, address); tells its head the address
//   head: sends every rank the TcpGroup of the generation (addresses by rank, a new GroupKey)
//   rank: form_tcp_collective(group, listener, stop, time) - all ranks at about the same time
//
// A rank whose process dies is noticed by the reset of its connections, one that hangs by the
// deadlines of the others' calls. abort() is `stop` raised, which also ends a formation.
#pragma once

#include <memory>

#include "model/collective.h"
#include "net/tcp_formation.h"

namespace troupe {

/// Errors as of connect_ranks().
Result<std::unique_ptr<Collective>> form_tcp_collective(const TcpGroup& group,
                                                        FileDescriptor listener,
                                                        std::shared_ptr<StopSignal> stop,
                                                        Duration allowed);

}  // namespace troupe
