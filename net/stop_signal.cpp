#include "net/stop_signal.h"

#include <sys/eventfd.h>

#include "config/check.h"

namespace troupe {

StopSignal::StopSignal() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  TROUPE_CHECK(event_, event_.get());
}

void StopSignal::raise() noexcept {
  raised_.store(true, std::memory_order_release);
  ::eventfd_write(event_.get(), 1);
}

}  // namespace troupe
