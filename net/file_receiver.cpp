#include "net/file_receiver.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <cstring>

#include "config/limits.h"
#include "net/unix_socket.h"

namespace troupe {

Result<std::unique_ptr<FileReceiver>> FileReceiver::start(const std::string& door,
                                                          const std::string& part,
                                                          const Digest& digest) {
  FileDescriptor file(::open(
      part.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  struct stat status {};
  const bool opened = file && ::fstat(file.get(), &status) == 0;
  if (!opened || !S_ISREG(status.st_mode) || status.st_nlink != 1 || status.st_uid != ::geteuid())
    return fail(ErrorCode::permission_denied,
                fmt::format("{} can't be written ({}); look at the state directory", part,
                            opened ? "it is something else" : std::strerror(errno)));
  auto dialled = dial_unix(door);
  if (!dialled)
    return fail(ErrorCode::unavailable, "can't be asked: the link of this node does not answer");
  FileDescriptor socket(*dialled);
  const auto from = static_cast<uint64_t>(status.st_size);
  const auto request = encode_file_request({digest, from});
  // It fits an empty socket buffer, unless the link has hung up already: so it says, here or at the
  // first read, that the other node can't be reached.
  if (::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL | MSG_DONTWAIT) !=
      static_cast<ssize_t>(request.size()))
    return fail(ErrorCode::unavailable, "does not answer");
  return std::unique_ptr<FileReceiver>(
      new FileReceiver(std::move(socket), std::move(file), part, from));
}

FileReceiver::Turn FileReceiver::turn() {
  if (left_.empty()) {
    const ssize_t got = ::recv(socket_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return Idle{};
    if (got <= 0)
      return Ended{reader_.answer() ? fmt::format("hung up at byte {}", reader_.at())
                                    : "does not answer"};
    left_ = std::span(buffer_).first(static_cast<size_t>(got));
  }
  while (!left_.empty()) {
    const bool answered = reader_.answer().has_value();
    const auto data = reader_.take(left_);
    if (!data) return Ended{"sent what it may not: " + data.error().message};
    if (!data->empty())
      if (auto written = write(*data); !written) return Stuck{written.error()};
    if (reader_.gave_up())
      return Ended{fmt::format("can't read its file on behind byte {}", reader_.at())};
    if (answered || !reader_.answer()) continue;
    const FileAnswer& answer = *reader_.answer();
    if (!answer.refusal)
      if (auto room = make_room(answer.size); !room) return Stuck{room.error()};
    return Answered{answer, from_};
  }
  if (!reader_.answer()) return Idle{};
  return Came{reader_.at()};
}

Result<void> FileReceiver::make_room(uint64_t size) const {
  struct statvfs disk {};
  if (::fstatvfs(part_.get(), &disk) != 0) return {};  // writing will say
  const uint64_t room = uint64_t{disk.f_bavail} * disk.f_frsize,
                 needed = size - from_ + static_cast<uint64_t>(kFileRoomKept);
  if (size == from_ || room >= needed) return {};
  return fail(
      ErrorCode::unavailable,
      fmt::format("the disk of {} has {:.1f} MB left, and fetching the model takes {:.1f} "
                  "MB; free some space",
                  path_, static_cast<double>(room) / 1e6, static_cast<double>(needed) / 1e6));
}

Result<void> FileReceiver::write(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(part_.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return std::unexpected(write_error(errno));
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  if (reader_.at() - synced_ < static_cast<uint64_t>(kFileSyncBytes)) return {};
  synced_ = reader_.at();
  if (::fdatasync(part_.get()) != 0) return std::unexpected(write_error(errno));
  return {};
}

Error FileReceiver::write_error(int error) const {
  return {ErrorCode::unavailable,
          fmt::format("{} can't be written ({}); free some space", path_, std::strerror(error)),
          {}};
}

}  // namespace troupe
