// A file mapped read-only. The map lives as long as the object; backends copy what they need out of
// it and drop it (a map of a file that someone truncates is a SIGBUS). Reading is thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "config/result.h"

namespace troupe {

class MappedFile {
 public:
  /// not_found, too_large (over `bytes_max`), permission_denied or data_loss (empty, not a regular
  /// file).
  static Result<std::shared_ptr<const MappedFile>> open(const std::string& path, int64_t bytes_max);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

/// The whole file as text; same errors.
Result<std::string> read_text(const std::string& path, int64_t bytes_max);
/// The same, but empty if there is no such file.
Result<std::string> read_optional_text(const std::string& path, int64_t bytes_max);

}  // namespace troupe
