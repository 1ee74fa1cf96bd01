// A router, shard or link process, from exec to exit. What `troupe child NAME` runs; only nodes
// start it.
#pragma once

namespace troupe {

/// Reads its start packet from `lifeline`, runs, and returns the exit code: 0 when asked to end or
/// when the node went away, 70 after a failure.
int run_child(int lifeline);

}  // namespace troupe
