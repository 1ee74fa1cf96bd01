// Where a rank's lifeline leaves the memory that its generation shares, and where its device lane
// waits for it. Any thread.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>

#include "config/ids.h"
#include "config/result.h"
#include "config/time.h"
#include "net/file_descriptor.h"
#include "net/shm_map.h"

namespace troupe {

class RankMemory {
 public:
  /// Takes the place of what was left before.
  void put(GroupId group, Generation generation, FileDescriptor memory);
  /// That of this group and generation, waiting up to `allowed`; what is left for another one is
  /// passed over. Once. deadline_exceeded when it does not come, aborted after end(), data_loss
  /// when it is of another generation inside.
  Result<std::shared_ptr<ShmMap>> take(GroupId group, Generation generation, Duration allowed);
  /// Who waits is let go, now and later.
  void end();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  GroupId group_;          ///< guarded, as all below
  Generation generation_;  ///< of memory_
  FileDescriptor memory_;
  bool ended_ = false;
};

}  // namespace troupe
