// A file mapped read-only. The map lives as long as the object; backends copy what they need out of
// it and drop it (a map of a file that someone truncates is a SIGBUS). Reading is thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "config/result.h"

namespace troupe {

/// What tells one state of a file from another without reading it. ctime too: whoever changes the
/// contents can set mtime back, but not ctime.
struct FileFacts {
  uint64_t device = 0, inode = 0;
  int64_t size = 0, modified_ns = 0, changed_ns = 0;
  bool operator==(const FileFacts&) const = default;
};

/// Of an open file; nullopt, and errno, if it has none.
std::optional<FileFacts> file_facts(int descriptor);

class MappedFile {
 public:
  /// not_found, too_large (over `bytes_max`), permission_denied or data_loss (empty, not a regular
  /// file).
  static Result<std::shared_ptr<const MappedFile>> open(const std::string& path, int64_t bytes_max);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  /// As they were when it was mapped.
  const FileFacts& facts() const { return facts_; }

 private:
  MappedFile(std::span<const std::byte> bytes, const FileFacts& facts)
      : bytes_(bytes), facts_(facts) {}
  std::span<const std::byte> bytes_;
  FileFacts facts_;
};

/// The whole file as text; same errors.
Result<std::string> read_text(const std::string& path, int64_t bytes_max);
/// The same, but empty if there is no such file.
Result<std::string> read_optional_text(const std::string& path, int64_t bytes_max);

}  // namespace troupe
