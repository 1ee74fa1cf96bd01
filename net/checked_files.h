// Files by the digest of their bytes: hashes them, and remembers what it hashed as long as nothing
// about the file has changed, also from one life of the process to the next. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/limits.h"
#include "config/result.h"
#include "model/files/weights_id_memory.h"
#include "net/file_descriptor.h"

struct evp_md_ctx_st;

namespace troupe {

/// A regular file, open for reading.
struct OpenFile {
  FileDescriptor descriptor;
  FileFacts facts;  ///< when it was opened
};

/// Symbolic links on the way are the operator's and are resolved first; what is opened then is not
/// one. not_found, or one clause about what is wrong: it is no file, empty, or over `bytes_max`.
Result<OpenFile> open_file(const std::string& path, int64_t bytes_max);

class CheckedFiles {
 public:
  /// `memory` is a file of its own, private to its owner; empty: nothing outlives the process.
  explicit CheckedFiles(std::string memory) : memory_(std::move(memory)) {}

  /// The digest of a file in exactly this state, if it was ever computed.
  std::optional<Digest> known(const FileFacts& facts);
  /// Keeps the last kWeightsIdsMax.
  void learn(Time now, const FileFacts& facts, const Digest& digest);
  /// What was learnt of files that had just changed is written down once they have settled.
  void tick(Time now);
  std::optional<Time> deadline() const;

 private:
  struct Known {
    FileFacts facts;
    Digest digest{};
    std::optional<Time> write_at;
  };
  WeightsIdMemory memory_;
  std::vector<Known> known_;  ///< the oldest first
};

/// Hashes one file, a slice at a time.
class FileHash {
 public:
  explicit FileHash(OpenFile file);
  const FileFacts& facts() const { return file_.facts; }

  /// Reads kFileHashBytes more; nullopt: there is more. The digest, or a clause why there is none:
  /// it can't be read, or changed meanwhile.
  std::optional<Result<Digest>> step();

 private:
  Digest finish();
  OpenFile file_;
  std::unique_ptr<evp_md_ctx_st, void (*)(evp_md_ctx_st*)> hash_;
  int64_t at_ = 0;
};

}  // namespace troupe
