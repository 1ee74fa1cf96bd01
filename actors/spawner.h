// Starts and reaps a node's processes. Lives on the node's MAIN thread and only there, because
// PDEATHSIG follows the forking thread; other threads talk to it through the bounded command queue.
// Children are the node's own image, executed through a descriptor opened at start, so an upgrade
// on disk changes nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "actors/lifeline.h"
#include "config/ids.h"
#include "config/time.h"

namespace troupe {

struct SpawnCommand {
  std::string child;
  Incarnation incarnation;
  std::vector<uint8_t> start_packet;
  std::vector<int> descriptors;  ///< passed along; stay open here
};
struct EndCommand {
  std::string child;
  Incarnation incarnation;
  bool force = false;  ///< SIGKILL now; else end packet, SIGKILL after `grace`
  Duration grace{};
};

/// For a rank: the memory that its generation shares.
struct ShareCommand {
  std::string child;
  Incarnation incarnation;
  GroupId group;
  Generation generation;
  FileDescriptor memory;
};

/// What happens to children, told on the main thread; must not block.
struct SpawnerEvents {
  std::function<void(const std::string& child, Incarnation, int64_t pid)> spawned;
  std::function<void(const std::string& child, std::string reason)> spawn_failed;
  std::function<void(const std::string& child, Incarnation, std::string how)> exited;
  std::function<void(const std::string& child, const Beat&)> beat;
  std::function<void(int signal)> signal;  ///< SIGINT, SIGTERM, SIGHUP
};

class Spawner {
 public:
  explicit Spawner(SpawnerEvents events);
  ~Spawner();  ///< kills and reaps what is left
  Spawner(const Spawner&) = delete;
  Spawner& operator=(const Spawner&) = delete;

  // Any thread:
  void spawn(SpawnCommand command);
  void end(EndCommand command);
  void share(ShareCommand command);
  void reload_all();  ///< children read their key files again
  void stop();        ///< run() returns

  /// Main thread, until stop().
  void run();

 private:
  struct Child {
    Incarnation incarnation;
    int pid = 0, pidfd = -1, lifeline = -1;
    std::optional<Time> kill_at;
  };
  using Command = std::variant<SpawnCommand, EndCommand, ShareCommand>;
  void post(Command command);
  void start(const SpawnCommand& command);
  void handle_share(const ShareCommand& command);
  void handle_end(const EndCommand& command);
  void reap(std::map<std::string, Child>::iterator at);
  void read_lifeline(const std::string& name, Child& child);

  SpawnerEvents events_;
  int image_ = -1, wake_ = -1, signals_ = -1;
  std::mutex mutex_;  ///< guards commands_, stopping_ and reload_
  std::vector<Command> commands_;
  bool stopping_ = false, reload_ = false;
  std::map<std::string, Child> children_;  ///< main thread only
};

/// Blocks SIGINT, SIGTERM, SIGHUP and SIGCHLD in this thread and all it starts, and ignores
/// SIGPIPE. Before any thread.
void block_signals();

}  // namespace troupe
