#include "actors/state_dir.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "config/digest.h"

namespace troupe {

namespace {

constexpr char kFormat[] = "troupe-state 1\n";

std::unexpected<Error> problem(ErrorCode code, const std::string& path, const std::string& what) {
  return fail(code, fmt::format("the state directory {} {}", path, what));
}

/// The file's bytes, or `make` written to it first if it is not there.
Result<std::string> read_or_make(const std::string& path, const std::string& made) {
  int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd >= 0) {
    const bool written =
        ::write(fd, made.data(), made.size()) == static_cast<ssize_t>(made.size()) &&
        ::fsync(fd) == 0;
    ::close(fd);
    if (!written) {
      ::unlink(path.c_str());
      return fail(
          ErrorCode::permission_denied,
          fmt::format("{} can't be written ({}); free some space", path, std::strerror(errno)));
    }
    return made;
  }
  fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0)
    return fail(ErrorCode::permission_denied,
                fmt::format("{} can't be read ({}); remove it or fix its owner", path,
                            std::strerror(errno)));
  char buffer[4096];
  const ssize_t got = ::read(fd, buffer, sizeof buffer);
  ::close(fd);
  return std::string(buffer, static_cast<size_t>(std::max<ssize_t>(got, 0)));
}

std::string random_hex() {
  Digest bytes;
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    std::abort();
  return to_hex(bytes);
}

}  // namespace

Result<StateDir> StateDir::open(const std::string& path) {
  StateDir dir;
  std::error_code error;
  dir.path_ = std::filesystem::absolute(path, error).lexically_normal().string();
  if (dir.path_.size() > 1 && dir.path_.back() == '/') dir.path_.pop_back();
  std::filesystem::create_directories(dir.path_, error);
  if (error)
    return problem(
        ErrorCode::permission_denied, dir.path_,
        fmt::format("can't be created ({}); choose another with --state", error.message()));
  // Everything below is private to its owner.
  ::chmod(dir.path_.c_str(), 0700);
  const std::string lock_path = dir.path_ + "/lock";
  dir.lock_ = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (dir.lock_ < 0)
    return problem(
        ErrorCode::permission_denied, dir.path_,
        fmt::format("can't be written ({}); choose another with --state", std::strerror(errno)));
  if (::flock(dir.lock_, LOCK_EX | LOCK_NB) != 0)
    return problem(ErrorCode::conflict, dir.path_,
                   "is in use by another node; stop it or choose another with --state");
  auto format = read_or_make(dir.path_ + "/format", kFormat);
  if (!format) return std::unexpected(format.error());
  if (*format != kFormat)
    return problem(ErrorCode::unsupported, dir.path_,
                   "was written by another version; choose another with --state");
  auto token = read_or_make(dir.token_path(), random_hex() + "\n");
  if (!token) return std::unexpected(token.error());
  if (!digest_from_hex(std::string_view(*token).substr(0, 64)))
    return problem(ErrorCode::data_loss, dir.path_,
                   "has a damaged token; remove admin.token in it");
  dir.admin_token_ = token->substr(0, 64);
  return dir;
}

Result<Digest> StateDir::own_secret() const {
  auto secret = read_or_make(path_ + "/cluster.secret", random_hex() + "\n");
  if (!secret) return std::unexpected(secret.error());
  auto parsed = digest_from_hex(std::string_view(*secret).substr(0, 64));
  if (!parsed)
    return problem(ErrorCode::data_loss, path_,
                   "has a damaged secret; remove cluster.secret in it");
  return *parsed;
}

StateDir::StateDir(StateDir&& other) noexcept
    : path_(std::move(other.path_)),
      admin_token_(std::move(other.admin_token_)),
      lock_(std::exchange(other.lock_, -1)) {}

StateDir::~StateDir() {
  if (lock_ >= 0) ::close(lock_);
}

Result<void> StateDir::write_endpoint(const std::string& json) const {
  const std::string path = path_ + "/endpoint.json", temporary = path + ".new";
  int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  const bool written =
      fd >= 0 && ::write(fd, json.data(), json.size()) == static_cast<ssize_t>(json.size());
  if (fd >= 0) ::close(fd);
  if (!written || ::rename(temporary.c_str(), path.c_str()) != 0)
    return problem(ErrorCode::permission_denied, path_,
                   fmt::format("can't be written ({})", std::strerror(errno)));
  return {};
}

std::string default_state_dir(const std::string& instance) {
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  std::string base = state && *state ? state
                     : home && *home ? std::string(home) + "/.local/state"
                                     : "/tmp";
  return base + "/troupe/" + instance;
}

std::string weights_id_memory_path() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  if (cache && *cache) return std::string(cache) + "/troupe/weights-ids";
  return home && *home ? std::string(home) + "/.cache/troupe/weights-ids" : "";
}

}  // namespace troupe
