// What nodes say over the link's `file` service: one request and its answer a connection. Pure.
//
//   request                                   answer
//   0  4  "TRFQ"                              0  4  "TRFA"
//   4  1  version (1)                         4  1  version (1)
//   5  3  zero                                5  1  verdict: 0 here it comes, else a FileRefusal
//   8  8  from: first byte that is wanted     6  2  zero
//   16 32 sha256 of the whole file            8  8  size of the whole file; 0 if refused
//
// Behind an answer that is no refusal the bytes [from, size) follow in chunks, each a length of 4
// bytes (1 to kFileChunkBytesMax) and so many bytes; a length of 0 says that the sender can't go
// on. Integers are little-endian. A file is named by its digest only, never by a path; who receives
// it verifies the digest.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "cluster/file_fetch.h"
#include "config/ids.h"
#include "config/result.h"

namespace troupe {

inline constexpr size_t kFileRequestBytes = 48, kFileAnswerBytes = 16, kFileChunkHeadBytes = 4;
inline constexpr uint8_t kFileVersion = 1;

struct FileRequest {
  Digest digest{};
  uint64_t from = 0;
  bool operator==(const FileRequest&) const = default;
};

std::array<uint8_t, kFileRequestBytes> encode_file_request(const FileRequest& request);
/// data_loss with a sentence.
Result<FileRequest> decode_file_request(std::span<const uint8_t, kFileRequestBytes> bytes);

struct FileAnswer {
  std::optional<FileRefusal> refusal;
  uint64_t size = 0;
  bool operator==(const FileAnswer&) const = default;
};

std::array<uint8_t, kFileAnswerBytes> encode_file_answer(const FileAnswer& answer);
Result<FileAnswer> decode_file_answer(std::span<const uint8_t, kFileAnswerBytes> bytes);

/// 0: the sender can't go on.
std::array<uint8_t, kFileChunkHeadBytes> encode_file_chunk_head(uint32_t bytes);

/// The receiving end of an answer, however the stream is cut. After an error it is of no use.
class FileAnswerReader {
 public:
  /// The request asked for what follows `from`.
  explicit FileAnswerReader(uint64_t from) : at_(from), from_(from) {}

  /// Takes something off the front of `bytes`, which is not empty, and returns the bytes of the
  /// file among that: a part of `bytes`, often none. Stops where answer() comes to be known.
  /// data_loss: it is no such answer, or says more than it may.
  Result<std::span<const uint8_t>> take(std::span<const uint8_t>& bytes);

  const std::optional<FileAnswer>& answer() const { return answer_; }
  /// All bytes of the file up to here were taken.
  uint64_t at() const { return at_; }
  /// The sender can't go on.
  bool gave_up() const { return gave_up_; }

 private:
  Result<void> on_answer();
  Result<void> on_chunk_head();

  std::array<uint8_t, kFileAnswerBytes> head_{};
  size_t filled_ = 0;
  std::optional<FileAnswer> answer_;
  uint64_t at_, from_;
  uint32_t left_ = 0;  ///< of this chunk
  bool gave_up_ = false;
};

}  // namespace troupe
