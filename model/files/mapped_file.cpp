#include "model/files/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace troupe {

namespace {

std::unexpected<Error> cannot(const char* verb, const std::string& path) {
  const int error = errno;
  const auto code = error == ENOENT || error == ENOTDIR ? ErrorCode::not_found
                    : error == EACCES || error == EPERM ? ErrorCode::permission_denied
                                                        : ErrorCode::internal;
  return fail(code, fmt::format("{}: cannot {} it: {}; check the path and its permissions.", path,
                                verb, std::strerror(error)));
}

int64_t nanoseconds(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

FileFacts facts_of(const struct stat& status) {
  return {status.st_dev, status.st_ino, status.st_size, nanoseconds(status.st_mtim),
          nanoseconds(status.st_ctim)};
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

std::optional<FileFacts> file_facts(int descriptor) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) return std::nullopt;
  return facts_of(status);
}

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::string& path,
                                                           int64_t bytes_max) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) return cannot("open", path);
  struct stat status {};
  if (::fstat(file.fd, &status) != 0) return cannot("read", path);
  if (!S_ISREG(status.st_mode))
    return fail(ErrorCode::data_loss, fmt::format("{}: this is not a regular file.", path));
  if (status.st_size == 0)
    return fail(ErrorCode::data_loss, fmt::format("{}: the file is empty; fetch it again.", path));
  if (status.st_size > bytes_max)
    return fail(ErrorCode::too_large, fmt::format("{}: the file has {} bytes, the limit is {}.",
                                                  path, status.st_size, bytes_max));
  const auto size = static_cast<size_t>(status.st_size);
  void* at = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (at == MAP_FAILED) return cannot("map", path);
  return std::shared_ptr<const MappedFile>(
      new MappedFile(std::span(static_cast<const std::byte*>(at), size), facts_of(status)));
}

MappedFile::~MappedFile() { ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size()); }

Result<std::string> read_text(const std::string& path, int64_t bytes_max) {
  const auto file = MappedFile::open(path, bytes_max);
  if (!file) return std::unexpected(file.error());
  const auto bytes = (*file)->bytes();
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Result<std::string> read_optional_text(const std::string& path, int64_t bytes_max) {
  auto text = read_text(path, bytes_max);
  if (!text && text.error().code == ErrorCode::not_found) return std::string();
  return text;
}

}  // namespace troupe
