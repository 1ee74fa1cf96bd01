#include "model/files/weights_id_memory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <string_view>
#include <vector>

#include "config/digest.h"
#include "config/limits.h"

namespace troupe {

namespace {

constexpr std::string_view kFormat = "troupe weights ids 1\n";
constexpr size_t kHex = 2 * sizeof(Digest);
/// "<key> <id> <check>\n"
constexpr size_t kLineBytes = 3 * (kHex + 1);

struct Entry {
  Digest key, id;
};

Digest key_of(std::span<const FileFacts> files) {
  DigestBuilder key;
  key.add(files.size());
  for (const FileFacts& file : files)
    key.add(file.device)
        .add(file.inode)
        .add(static_cast<uint64_t>(file.size))
        .add(static_cast<uint64_t>(file.modified_ns))
        .add(static_cast<uint64_t>(file.changed_ns));
  return key.finish();
}

Digest check_of(const Entry& entry) {
  return DigestBuilder().add(to_hex(entry.key)).add(to_hex(entry.id)).finish();
}

std::optional<Entry> parse_line(std::string_view line) {
  std::array<Digest, 3> parts;
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto digest = digest_from_hex(line.substr(i * (kHex + 1), kHex));
    if (!digest) return std::nullopt;
    parts[i] = *digest;
  }
  const Entry entry{parts[0], parts[1]};
  return check_of(entry) == parts[2] ? std::optional(entry) : std::nullopt;
}

std::vector<Entry> read_entries(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return {};
  struct stat status {};
  std::string text(kFormat.size() + kWeightsIdsMax * kLineBytes, '\0');
  const bool ours = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
                    status.st_uid == ::geteuid() && (status.st_mode & 077) == 0;
  const ssize_t got = ours ? ::read(fd, text.data(), text.size()) : 0;
  ::close(fd);
  text.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
  if (!text.starts_with(kFormat)) return {};
  std::vector<Entry> entries;
  for (size_t at = kFormat.size(); at + kLineBytes <= text.size(); at += kLineBytes)
    if (const auto entry = parse_line(std::string_view(text).substr(at, kLineBytes)))
      entries.push_back(*entry);
  return entries;
}

void write_entries(const std::string& path, std::span<const Entry> entries) {
  std::string text(kFormat);
  for (const Entry& entry : entries)
    text += to_hex(entry.key) + ' ' + to_hex(entry.id) + ' ' + to_hex(check_of(entry)) + '\n';
  const std::string temporary = path + '.' + std::to_string(::getpid());
  const int fd =
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return;
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(fd);
  if (!written || ::rename(temporary.c_str(), path.c_str()) != 0) ::unlink(temporary.c_str());
}

/// Whether it has rested long enough that another change would show in its times.
bool at_rest(const FileFacts& file) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const int64_t settled = int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec - kFileSettles.count();
  return file.modified_ns < settled && file.changed_ns < settled;
}

}  // namespace

std::optional<Digest> WeightsIdMemory::recall(std::span<const FileFacts> files) const {
  if (path_.empty()) return std::nullopt;
  const Digest key = key_of(files);
  const auto entries = read_entries(path_);
  const auto found = std::ranges::find(entries, key, &Entry::key);
  return found == entries.end() ? std::nullopt : std::optional(found->id);
}

void WeightsIdMemory::remember(std::span<const FileFacts> files, const Digest& id) const {
  if (path_.empty() || !std::ranges::all_of(files, at_rest)) return;
  std::error_code ignored;  // shows when the file is opened
  const auto folder = std::filesystem::path(path_).parent_path();
  if (std::filesystem::create_directories(folder, ignored)) ::chmod(folder.c_str(), 0700);
  std::vector<Entry> entries = read_entries(path_);
  const Entry entry{key_of(files), id};
  std::erase_if(entries, [&](const Entry& old) { return old.key == entry.key; });
  if (entries.size() >= kWeightsIdsMax) entries.erase(entries.begin());
  entries.push_back(entry);
  write_entries(path_, entries);
}

}  // namespace troupe
