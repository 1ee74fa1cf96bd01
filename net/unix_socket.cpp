#include "net/unix_socket.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "config/limits.h"

namespace troupe {

namespace {

Result<sockaddr_un> address_of(const std::string& path) {
  if (path.empty() || path.size() > kUnixPathMax)
    return fail(ErrorCode::invalid_argument,
                fmt::format("the socket path {} has {} characters, at most {} are possible; use a "
                            "shorter state directory",
                            path, path.size(), kUnixPathMax));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

}  // namespace

Result<int> listen_unix(const std::string& path) {
  auto address = address_of(path);
  if (!address) return std::unexpected(address.error());
  ::unlink(path.c_str());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  // fchmod before bind sets the mode of the file that bind creates, without touching the
  // process-wide umask.
  if (fd >= 0 && ::fchmod(fd, 0600) == 0 &&
      ::bind(fd, reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0 &&
      ::listen(fd, 64) == 0)
    return fd;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  return fail(ErrorCode::conflict,
              fmt::format("the socket {} can't be opened ({}); check the state directory", path,
                          std::strerror(error)));
}

Result<int> dial_unix(const std::string& path) {
  auto address = address_of(path);
  if (!address) return std::unexpected(address.error());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0)
    return fd;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  return fail(ErrorCode::unavailable,
              fmt::format("the socket {} does not answer ({})", path, std::strerror(error)));
}

}  // namespace troupe
