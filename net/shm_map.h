// The shared memory of one generation of ranks under one supervisor: a memfd that is handed over as
// a descriptor, never a name, and can't be resized. The supervisor makes it, passes the descriptor
// to each rank and keeps its own map to end the generation when a rank dies (shm_collective.h).
//
// Layout: ShmControl, then a ring for each ordered pair of ranks.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>

#include "config/limits.h"
#include "config/result.h"
#include "net/file_descriptor.h"
#include "net/futex_bell.h"
#include "net/shm_ring.h"

namespace troupe {

struct ShmControl {
  uint64_t magic = 0;  ///< with the version of this layout
  uint32_t ranks = 0, generation = 0;
  alignas(64) std::atomic<uint32_t> aborted = 0;  ///< 1: the generation is over
  /// 0: no rank gave up; 1: one is writing why; 2: it can be read.
  std::atomic<uint32_t> fault = 0;
  uint16_t fault_code = 0, fault_length = 0;
  char fault_text[kCollectiveTextBytesMax] = {};
  FutexBell bells[kCollectiveRanksMax];  ///< by rank
};

/// Any thread; the memory stays mapped while this lives.
class ShmMap {
 public:
  /// invalid_argument for other than 2..kCollectiveRanksMax ranks; unavailable when there is not
  /// enough memory.
  static Result<std::shared_ptr<ShmMap>> create(int ranks, uint32_t generation);
  /// In a rank; the descriptor may be closed after. data_loss when it is nothing that create() of
  /// this build made.
  static Result<std::shared_ptr<ShmMap>> open(int descriptor);
  ~ShmMap();
  ShmMap(const ShmMap&) = delete;
  ShmMap& operator=(const ShmMap&) = delete;

  /// To pass on; -1 where the map was opened.
  int descriptor() const { return memory_.get(); }
  int ranks() const { return static_cast<int>(ranks_); }
  uint32_t generation() const { return generation_; }
  ShmControl& control() const;
  ShmRing& ring(int from, int to) const;

  /// Ends the generation and wakes all who wait. From any process that has the map, at any time.
  void abort() const noexcept;

 private:
  ShmMap(FileDescriptor memory, std::byte* base, size_t bytes, uint32_t ranks, uint32_t generation)
      : memory_(std::move(memory)),
        base_(base),
        bytes_(bytes),
        ranks_(ranks),
        generation_(generation) {}

  FileDescriptor memory_;
  std::byte* base_;
  size_t bytes_;
  uint32_t ranks_, generation_;
};

}  // namespace troupe
