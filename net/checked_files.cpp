#include "net/checked_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <span>

#include "config/check.h"

namespace troupe {

namespace {

/// Behind which a file has rested long enough to be remembered.
constexpr Duration kSettled = kFileSettles + 100ms;

std::unexpected<Error> cannot_open(const std::string& path, int error) {
  if (error == ENOENT || error == ENOTDIR)
    return fail(ErrorCode::not_found, path + " is not there");
  return fail(error == EACCES ? ErrorCode::permission_denied : ErrorCode::internal,
              fmt::format("{} can't be opened ({})", path, std::strerror(error)));
}

}  // namespace

Result<OpenFile> open_file(const std::string& path, int64_t bytes_max) {
  std::error_code error;
  const std::string real = std::filesystem::canonical(path, error).string();
  if (error) return cannot_open(path, error.value());
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  OpenFile file;
  file.descriptor =
      FileDescriptor(::open(real.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file.descriptor) return cannot_open(path, errno);
  struct stat status {};
  const auto facts = file_facts(file.descriptor.get());
  if (!facts || ::fstat(file.descriptor.get(), &status) != 0) return cannot_open(path, errno);
  if (!S_ISREG(status.st_mode))
    return fail(ErrorCode::data_loss, path + " is no file, and sha256 is that of one file");
  if (facts->size == 0) return fail(ErrorCode::data_loss, path + " is empty");
  if (facts->size > bytes_max)
    return fail(ErrorCode::too_large,
                fmt::format("{} has {} bytes, the limit is {}", path, facts->size, bytes_max));
  file.facts = *facts;
  return file;
}

std::optional<Digest> CheckedFiles::known(const FileFacts& facts) {
  const auto found = std::ranges::find(known_, facts, &Known::facts);
  if (found != known_.end()) return found->digest;
  return memory_.recall(std::span(&facts, 1));
}

void CheckedFiles::learn(Time now, const FileFacts& facts, const Digest& digest) {
  std::erase_if(known_, [&](const Known& old) { return old.facts == facts; });
  if (known_.size() >= kWeightsIdsMax) known_.erase(known_.begin());
  known_.push_back({facts, digest, now + kSettled});
}

void CheckedFiles::tick(Time now) {
  for (Known& each : known_) {
    if (!each.write_at || now < *each.write_at) continue;
    each.write_at.reset();
    memory_.remember(std::span(&each.facts, 1), each.digest);
  }
}

std::optional<Time> CheckedFiles::deadline() const {
  std::optional<Time> earliest;
  for (const Known& each : known_)
    if (each.write_at && (!earliest || *each.write_at < *earliest)) earliest = each.write_at;
  return earliest;
}

FileHash::FileHash(OpenFile file)
    : file_(std::move(file)), hash_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
  TROUPE_CHECK(hash_ && EVP_DigestInit_ex(hash_.get(), EVP_sha256(), nullptr) == 1);
}

std::optional<Result<Digest>> FileHash::step() {
  std::vector<std::byte> slice(kFileReadBytes);
  for (size_t done = 0; done < kFileHashBytes;) {
    const ssize_t got =
        ::pread(file_.descriptor.get(), slice.data(), slice.size(), static_cast<off_t>(at_));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      return fail(ErrorCode::data_loss,
                  fmt::format("it can't be read ({}); look at the disk", std::strerror(errno)));
    if (got == 0) {
      if (file_facts(file_.descriptor.get()) == file_.facts && at_ == file_.facts.size)
        return finish();
      return fail(ErrorCode::unavailable, "it changed while it was checked");
    }
    TROUPE_CHECK(EVP_DigestUpdate(hash_.get(), slice.data(), static_cast<size_t>(got)) == 1, got);
    at_ += got;
    done += static_cast<size_t>(got);
  }
  return std::nullopt;
}

Digest FileHash::finish() {
  Digest digest;
  unsigned int size = 0;
  TROUPE_CHECK(EVP_DigestFinal_ex(hash_.get(), digest.data(), &size) == 1 && size == digest.size());
  return digest;
}

}  // namespace troupe
