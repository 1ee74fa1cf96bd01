#include "actors/become_image.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

namespace troupe {

void become_image(const ChildImage& child) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != child.parent) ::_exit(71);  // the parent died before prctl took effect
  ::setpgid(0, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC); null > 0) ::dup2(null, STDIN_FILENO);
  const int last_kept = std::max(child.number, STDERR_FILENO);
  int image = child.image;
  if (image == child.number) image = ::fcntl(image, F_DUPFD_CLOEXEC, last_kept + 1);
  if (child.descriptor == child.number)
    ::fcntl(child.number, F_SETFD, 0);
  else
    ::dup2(child.descriptor, child.number);
  // Everything above closes at exec; the image must stay open until then.
  ::close_range(static_cast<unsigned>(last_kept) + 1, ~0u, CLOSE_RANGE_CLOEXEC);
  ::fexecve(image, child.argv, environ);
  ::_exit(72);
}

int open_pidfd(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

}  // namespace troupe
