// The socketpair between a node and each of its processes: start packet with descriptors, beats
// upward, the memory that ranks share, and the end of life. If the node dies the child reads
// end-of-file and exits; if the child dies the node reads it too. SOCK_SEQPACKET: packets stay
// whole.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "config/ids.h"
#include "config/result.h"
#include "net/file_descriptor.h"

namespace troupe {

/// One beat, as it lies in memory (both ends run the same image). Sent each kBeatInterval by a
/// thread of its own, so that a busy scheduler does not look dead; a stopped process does.
struct Beat {
  static constexpr uint32_t kMagic = 0x74616562;
  uint32_t magic = kMagic;
  uint32_t reserved = 0;
  uint64_t incarnation = 0;
  int64_t loop_lag_ns = 0;  ///< how late the beat thread itself ran
};

/// Goes down with the descriptor of the memory that the ranks of one generation share: a rank's
/// process is older than its generation. As it lies in memory.
struct MemoryNote {
  static constexpr uint32_t kMagic = 0x796d656d;
  uint32_t magic = kMagic;
  uint32_t group = 0, generation = 0;
  uint32_t reserved = 0;
};

struct LifelinePair {
  int node_end = -1, child_end = -1;
};
Result<LifelinePair> make_lifeline();

/// Node's side: the first packet, with descriptors. False if the child is gone.
bool send_start(int fd, std::span<const uint8_t> packet, std::span<const int> descriptors);
/// Node's side: asks the child to end, or to read its key files again.
void send_end(int fd);
void send_reload(int fd);
/// Node's side: false if the child is gone or does not read.
bool send_memory(int fd, GroupId group, Generation generation, int descriptor);

struct StartPacket {
  std::vector<uint8_t> bytes;
  std::vector<int> descriptors;
};
/// Child's side; blocks for at most 10 s.
Result<StartPacket> receive_start(int fd);

/// What the node asks of a child; called on the lifeline's thread, each may be null.
struct LifelineEvents {
  std::function<void()> end;  ///< once
  std::function<void()> reload;
  std::function<void(GroupId, Generation, FileDescriptor)> memory;
};

/// Child's side, after receive_start: beats, and waits for the end. One thread. End-of-file means
/// that the node is gone: the process exits at once (_exit(0)).
class ChildLifeline {
 public:
  ChildLifeline(int fd, Incarnation incarnation, LifelineEvents events);
  ~ChildLifeline();
  ChildLifeline(const ChildLifeline&) = delete;
  ChildLifeline& operator=(const ChildLifeline&) = delete;

 private:
  void run();
  void read();
  int fd_, wake_;
  Incarnation incarnation_;
  LifelineEvents events_;
  std::thread thread_;
};

}  // namespace troupe
