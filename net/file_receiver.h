// The receiving half of the link's `file` service: one connection to a peer, whose bytes go behind
// the end of a part on disk. Non-blocking but for the disk; driven by the loop of net/file_store.
// The part (0600) is never looked for through a symbolic link, and is left as it is when the
// connection ends.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "net/file_descriptor.h"
#include "net/file_frame.h"

namespace troupe {

class FileReceiver {
 public:
  /// Nothing has come since.
  struct Idle {};
  /// The peer will send; turn() again goes on. `from`: bytes that were in the part before.
  struct Answered {
    FileAnswer answer;
    uint64_t from = 0;
  };
  /// So much of the file is in the part.
  struct Came {
    uint64_t total = 0;
  };
  /// The connection is over, and why.
  struct Ended {
    std::string why;
  };
  /// The part can't be written.
  struct Stuck {
    Error error;
  };
  using Turn = std::variant<Idle, Answered, Came, Ended, Stuck>;

  /// Asks behind `door` for what `part` lacks of that file. The error is about the part, or, if it
  /// is `unavailable`, about the door.
  static Result<std::unique_ptr<FileReceiver>> start(const std::string& door,
                                                     const std::string& part, const Digest& digest);

  int socket() const { return socket_.get(); }
  /// At most kFileReadBytes.
  Turn turn();

 private:
  FileReceiver(FileDescriptor socket, FileDescriptor part, std::string path, uint64_t from)
      : socket_(std::move(socket)),
        part_(std::move(part)),
        path_(std::move(path)),
        from_(from),
        synced_(from),
        reader_(from),
        buffer_(kFileReadBytes) {}
  Result<void> make_room(uint64_t size) const;
  Result<void> write(std::span<const uint8_t> bytes);
  Error write_error(int error) const;

  FileDescriptor socket_, part_;
  std::string path_;
  uint64_t from_, synced_;
  FileAnswerReader reader_;
  std::vector<uint8_t> buffer_;
  std::span<const uint8_t> left_;  ///< in `buffer_`, not taken yet
};

}  // namespace troupe
