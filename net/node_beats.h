// Beats between nodes, on their own thread and their own connections: whatever the node process or
// its other links are busy with, a beat leaves each kBeatInterval. Runs in the node process beside
// the supervisor; connections are AF_UNIX sockets that the node's link carries to the other host.
//
// Of two nodes the one with the lower name dials, and both send. A connection that ends, says what
// it may not, or brings nothing for `silence_max` is closed, and the dialer tries again with
// back-off (kBeatRedialFirst doubling to kBeatRedialMax). Who is dead is not decided here: what is
// heard goes to the FailureDetector. Which node a caller is, its link has proved (unix_speaker);
// what its beats say must agree.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/ids.h"
#include "config/limits.h"
#include "config/result.h"
#include "net/beat_frame.h"

namespace troupe {

/// A socket behind which another node's beats are.
struct BeatDoor {
  std::string node, path;
  bool operator==(const BeatDoor&) const = default;
};

/// Whom a node dials, and who dials it.
struct BeatWays {
  std::string socket;  ///< where the link brings the callers
  std::vector<BeatDoor> doors;
  std::vector<std::string> callers;
  bool operator==(const BeatWays&) const = default;
};

struct NodeBeatsConfig {
  NodeBeat own;
  BeatWays ways;
  Duration silence_max = kDeadAfter;
  /// A beat came. From the beats' thread; must not block.
  std::function<void(const NodeBeat&)> heard;
  /// Someone spoke for another node or process than its connection is; said once in a row. From the
  /// beats' thread too; may be unset.
  std::function<void(const std::string& why)> refused = {};
};

struct NodeBeatsStats {
  uint64_t sent = 0, heard = 0;
  uint64_t unsent = 0;   ///< the connection was full
  uint64_t refused = 0;  ///< connections closed for what they said, or as one too many
  uint64_t silent = 0;   ///< connections closed because they brought nothing
  size_t open = 0;       ///< connections now that have brought a beat
};

class NodeBeats {
 public:
  /// conflict, with a sentence, if the socket can't be opened.
  static Result<std::unique_ptr<NodeBeats>> start(NodeBeatsConfig config);
  virtual ~NodeBeats() = default;  ///< joins the thread, closes everything

  /// Any thread.
  virtual NodeBeatsStats stats() const = 0;
};

}  // namespace troupe
