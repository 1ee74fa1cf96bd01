#include "net/whole_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace troupe {

int write_whole_file(const std::string& path, const std::string& bytes, mode_t mode,
                     IfThere if_there) {
  const std::string fresh = path + ".new";
  ::unlink(fresh.c_str());  // left by a run that was killed
  const int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
  if (fd < 0) return errno;
  const bool written =
      ::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()) &&
      ::fchmod(fd, mode) == 0 && ::fsync(fd) == 0;
  int error = errno;
  ::close(fd);
  bool placed = false;
  if (written && if_there == IfThere::replace) {
    placed = ::rename(fresh.c_str(), path.c_str()) == 0;
    error = errno;
  } else if (written) {
    placed = ::link(fresh.c_str(), path.c_str()) == 0;  // unlike rename, never replaces
    error = errno;
  }
  ::unlink(fresh.c_str());
  return placed ? 0 : error;
}

}  // namespace troupe
