// The Collective of a group of which some ranks share a host: shared memory inside a host, TLS
// between hosts. The first rank of each host leads it: a call runs inside the hosts, then among the
// leaders, then inside the hosts again, so that each byte passes each cable once; messages between
// two ranks go directly. A fault on one plane ends the other. The deadline is that of the whole
// call.
#pragma once

#include <memory>
#include <vector>

#include "model/collective.h"
#include "net/shm_map.h"
#include "net/tcp_formation.h"

namespace troupe {

/// `hosts` tells by rank which host it is on: 0 for the first ones, ascending. `map` is the memory
/// of this rank's host, for as many ranks as it has; null when it has one. All ranks connect over
/// TLS too. Errors: invalid_argument when these do not fit, else as of connect_ranks().
Result<std::unique_ptr<Collective>> form_group_collective(
    std::vector<int> hosts, std::shared_ptr<ShmMap> map, const TcpGroup& group,
    FileDescriptor listener, std::shared_ptr<StopSignal> stop, Duration allowed);

}  // namespace troupe
