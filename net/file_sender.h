// The sending half of the link's `file` service: callers ask for a file by its digest and are sent
// it, all of them together at most at a given rate. At most kFileTransfersMax at a time and
// kFileCallersMax connections; who asks anything else, sends more than the request, or takes
// nothing for kFileSilenceMax is cut off. Non-blocking; driven by the loop of net/file_store.
#pragma once

#include <poll.h>

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <span>
#include <vector>

#include "net/checked_files.h"
#include "net/file_frame.h"

namespace troupe {

struct FileSenderStats {
  uint64_t bytes = 0;    ///< of files
  uint64_t sent = 0;     ///< transfers that reached the end of the file
  uint64_t refused = 0;  ///< callers that got a refusal, or were cut off for what they sent
  uint64_t broken = 0;   ///< transfers that ended early
};

class FileSender {
 public:
  /// The file with that digest, or why it is not sent.
  using Find = std::function<std::expected<OpenFile, FileRefusal>(const Digest& digest)>;

  FileSender(int64_t bytes_per_second, Find find)
      : bytes_per_second_(bytes_per_second), find_(std::move(find)) {}

  void accept(Time now, FileDescriptor caller);
  /// One entry a caller, for serve().
  void await(std::vector<pollfd>& waits, Time now) const;
  /// `waits` as await() made it, polled.
  void serve(Time now, std::span<const pollfd> waits);
  std::optional<Time> deadline() const;
  const FileSenderStats& stats() const { return stats_; }

 private:
  struct Caller {
    FileDescriptor socket;
    Time moved{};  ///< accepted, or when it last took something
    std::array<uint8_t, kFileRequestBytes> request{};
    size_t filled = 0;
    std::optional<OpenFile> file;
    int64_t at = 0;  ///< of the file: what is in `out` or sent
    std::vector<uint8_t> out;
    size_t out_sent = 0;
    bool answered() const { return filled == kFileRequestBytes; }
    bool sending() const { return file && at < file->facts.size; }
    bool drained() const { return out_sent == out.size(); }
  };
  enum class Turn : uint8_t { stays, over };
  Turn turn(Time now, Caller& caller, short events);
  Turn read(Caller& caller);
  Turn answer(Caller& caller);
  Turn write(Time now, Caller& caller);
  void load_chunk(Time now, Caller& caller);
  size_t transfers() const;

  const int64_t bytes_per_second_;
  const Find find_;
  std::list<Caller> callers_;  ///< who was last given a chunk comes last
  Time next_chunk_{};          ///< not before
  FileSenderStats stats_;
};

}  // namespace troupe
