// The model files of a node, by digest: says where each lies once its bytes were verified, fetches
// what is missing from other nodes into a folder of its own, and sends what is here to nodes that
// ask. Runs in the node process on a thread of its own; connections are AF_UNIX sockets that the
// node's link carries to other hosts. Each file is decided about by a FileFetch
// (cluster/file_fetch.h).
//
// Only digests of the config are sent or fetched, and only bytes whose digest was computed here:
// what a peer says picks one of them and names no path. In the folder a file is DIGEST.gguf, or
// DIGEST.part as far as it came; files of digests that are configured no more stay until somebody
// deletes them. `digests` remembers what was hashed.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/ids.h"
#include "config/limits.h"
#include "config/result.h"
#include "net/file_sender.h"

namespace troupe {

/// A socket behind which another node's file store is.
struct FileDoor {
  std::string node, path;
  bool operator==(const FileDoor&) const = default;
};

struct FileWays {
  std::string socket;           ///< where the link brings the callers; empty: nobody calls
  std::vector<FileDoor> doors;  ///< in the order in which they are asked
  bool operator==(const FileWays&) const = default;
};

struct StoredFile {
  Digest digest{};
  std::string source;  ///< where the config says it is
  bool operator==(const StoredFile&) const = default;
};

struct FileStoreConfig {
  FileWays ways;
  std::string folder;             ///< made if it is not there, 0700
  std::vector<StoredFile> files;  ///< no digest twice
  int64_t bytes_max = kModelFileBytesMax;
  int64_t bytes_per_second = kFileBytesPerSecond;
  // From the store's thread; must not block:
  /// What those who want a file wait for: a clause.
  std::function<void(const Digest& digest, const std::string& what)> waits;
  /// Something that its operator should know.
  std::function<void(const std::string& what)> warned;
};

struct FileStoreStats {
  FileSenderStats sender;
  uint64_t received = 0;  ///< bytes of files
  uint64_t fetched = 0;   ///< files
  uint64_t wrong = 0;     ///< parts and copies that were deleted because of what was in them
};

class FileStore {
 public:
  /// conflict or permission_denied, with a sentence, if its socket or folder can't be made.
  static Result<std::unique_ptr<FileStore>> start(FileStoreConfig config);
  virtual ~FileStore() = default;  ///< joins the thread; who still waits is told

  // Any thread:
  /// Where that file lies, as soon as it is verified; `cancelled` once nobody may wait any more.
  /// `done` is called once, from the store's thread. A digest that is not stored aborts.
  virtual void want(const Digest& digest, std::function<void(Result<std::string>)> done) = 0;
  /// Who waits, or comes to, is told that it is over.
  virtual void end_waiting() = 0;
  virtual FileStoreStats stats() const = 0;
};

}  // namespace troupe
