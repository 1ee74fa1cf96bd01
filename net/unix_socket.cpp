#include "net/unix_socket.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <random>

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

namespace {

constexpr std::string_view kSpeakerMark{"\0troupe/", 8};  // no file: it is gone with the socket

/// The dialing socket's own address is what it names: it needs no word in the stream.
bool name_speaker(int fd, std::string_view speaker) {
  static std::atomic<uint64_t> next = std::random_device{}();
  for (int tries = 0; tries < 8; ++tries) {  // another process may have drawn the same number
    const std::string name = fmt::format("{}{}/{:016x}", kSpeakerMark, speaker, ++next);
    sockaddr_un own{};
    own.sun_family = AF_UNIX;
    if (name.size() > sizeof own.sun_path) return false;
    std::memcpy(own.sun_path, name.data(), name.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&own), size) == 0) return true;
    if (errno != EADDRINUSE) return false;
  }
  return false;
}

}  // namespace

std::string unix_speaker(int socket) {
  sockaddr_un peer{};
  socklen_t size = sizeof peer;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &size) != 0 ||
      peer.sun_family != AF_UNIX || size <= offsetof(sockaddr_un, sun_path))
    return {};
  const size_t bytes = std::min<size_t>(size, sizeof peer) - offsetof(sockaddr_un, sun_path);
  std::string_view name(peer.sun_path, bytes);
  if (!name.starts_with(kSpeakerMark)) return {};
  name.remove_prefix(kSpeakerMark.size());
  return std::string(name.substr(0, name.rfind('/')));
}

Result<int> dial_unix(const std::string& path, std::string_view speaker) {
  auto address = address_of(path);
  if (!address) return std::unexpected(address.error());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd >= 0 && (speaker.empty() || name_speaker(fd, speaker)) &&
      ::connect(fd, reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0)
    return fd;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  return fail(ErrorCode::unavailable,
              fmt::format("the socket {} does not answer ({})", path, std::strerror(error)));
}

}  // namespace troupe
