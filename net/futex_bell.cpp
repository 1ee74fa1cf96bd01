#include "net/futex_bell.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <limits>

namespace troupe {

void FutexBell::sleep(uint32_t ticket, Duration at_most) {
  if (at_most > Duration::zero()) {
    constexpr int64_t kSecond = 1'000'000'000;
    const timespec limit{.tv_sec = at_most.count() / kSecond, .tv_nsec = at_most.count() % kSecond};
    // Not FUTEX_PRIVATE: the ringers are other processes.
    ::syscall(SYS_futex, &rings_, FUTEX_WAIT, ticket, &limit, nullptr, 0);
  }
  stay();
}

void FutexBell::ring_always() {
  rings_.fetch_add(1);
  ::syscall(SYS_futex, &rings_, FUTEX_WAKE, std::numeric_limits<int>::max(), nullptr, nullptr, 0);
}

}  // namespace troupe
