// Tells a thread that sleeps in poll() to give up. raise() from any thread, any number of times; it
// stays raised.
#pragma once

#include <atomic>

#include "net/file_descriptor.h"

namespace troupe {

class StopSignal {
 public:
  StopSignal();
  void raise() noexcept;
  bool raised() const { return raised_.load(std::memory_order_acquire); }
  /// Readable once raised.
  int descriptor() const { return event_.get(); }

 private:
  FileDescriptor event_;
  std::atomic<bool> raised_ = false;
};

}  // namespace troupe
