#include "net/file_frame.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include "config/check.h"
#include "config/limits.h"

namespace troupe {

static_assert(std::endian::native == std::endian::little);

namespace {

constexpr char kRequestMagic[4] = {'T', 'R', 'F', 'Q'}, kFileAnswerMagic[4] = {'T', 'R', 'F', 'A'};

std::unexpected<Error> bad(const char* what, const std::string& why) {
  return fail(ErrorCode::data_loss, fmt::format("the {} for a model file is wrong: {}", what, why));
}

/// Magic and version, which both begin with.
Result<void> check_head(const char* what, const char (&magic)[4], std::span<const uint8_t> bytes) {
  if (std::memcmp(bytes.data(), magic, sizeof magic) != 0) return bad(what, "its magic");
  if (bytes[4] != kFileVersion)
    return bad(what, fmt::format("version {}, this is {}; run the same build on both hosts",
                                 bytes[4], kFileVersion));
  return {};
}

bool all_zero(std::span<const uint8_t> bytes) {
  return std::ranges::all_of(bytes, [](uint8_t byte) { return byte == 0; });
}

}  // namespace

std::array<uint8_t, kFileRequestBytes> encode_file_request(const FileRequest& request) {
  std::array<uint8_t, kFileRequestBytes> bytes{};
  std::memcpy(bytes.data(), kRequestMagic, sizeof kRequestMagic);
  bytes[4] = kFileVersion;
  std::memcpy(bytes.data() + 8, &request.from, 8);
  std::ranges::copy(request.digest, bytes.begin() + 16);
  return bytes;
}

Result<FileRequest> decode_file_request(std::span<const uint8_t, kFileRequestBytes> bytes) {
  if (auto fine = check_head("request", kRequestMagic, bytes); !fine)
    return std::unexpected(fine.error());
  if (!all_zero(bytes.subspan(5, 3))) return bad("request", "its reserved bytes are set");
  FileRequest request;
  std::memcpy(&request.from, bytes.data() + 8, 8);
  std::ranges::copy(bytes.subspan(16), request.digest.begin());
  return request;
}

std::array<uint8_t, kFileAnswerBytes> encode_file_answer(const FileAnswer& answer) {
  TROUPE_CHECK(!answer.refusal || answer.size == 0, answer.size);
  std::array<uint8_t, kFileAnswerBytes> bytes{};
  std::memcpy(bytes.data(), kFileAnswerMagic, sizeof kFileAnswerMagic);
  bytes[4] = kFileVersion;
  if (answer.refusal) bytes[5] = static_cast<uint8_t>(*answer.refusal);
  std::memcpy(bytes.data() + 8, &answer.size, 8);
  return bytes;
}

Result<FileAnswer> decode_file_answer(std::span<const uint8_t, kFileAnswerBytes> bytes) {
  if (auto fine = check_head("answer", kFileAnswerMagic, bytes); !fine)
    return std::unexpected(fine.error());
  if (bytes[5] > kFileRefusals) return bad("answer", fmt::format("verdict {}", bytes[5]));
  if (!all_zero(bytes.subspan(6, 2))) return bad("answer", "its reserved bytes are set");
  FileAnswer answer;
  if (bytes[5] != 0) answer.refusal = static_cast<FileRefusal>(bytes[5]);
  std::memcpy(&answer.size, bytes.data() + 8, 8);
  if (answer.refusal && answer.size != 0) return bad("answer", "a refusal with a size");
  return answer;
}

std::array<uint8_t, kFileChunkHeadBytes> encode_file_chunk_head(uint32_t bytes) {
  TROUPE_CHECK(bytes <= kFileChunkBytesMax, bytes);
  std::array<uint8_t, kFileChunkHeadBytes> head{};
  std::memcpy(head.data(), &bytes, sizeof bytes);
  return head;
}

Result<std::span<const uint8_t>> FileAnswerReader::take(std::span<const uint8_t>& bytes) {
  TROUPE_CHECK(!bytes.empty());
  if (left_ > 0) {
    const auto data = bytes.first(std::min<size_t>(bytes.size(), left_));
    bytes = bytes.subspan(data.size());
    left_ -= static_cast<uint32_t>(data.size());
    at_ += data.size();
    return data;
  }
  if (answer_ && (gave_up_ || answer_->refusal || at_ == answer_->size))
    return bad("answer", "bytes follow its end");
  const size_t wanted = answer_ ? kFileChunkHeadBytes : kFileAnswerBytes;
  const size_t part = std::min(bytes.size(), wanted - filled_);
  std::ranges::copy(bytes.first(part), head_.begin() + static_cast<ptrdiff_t>(filled_));
  filled_ += part;
  bytes = bytes.subspan(part);
  if (filled_ < wanted) return std::span<const uint8_t>();
  filled_ = 0;
  if (auto fine = answer_ ? on_chunk_head() : on_answer(); !fine)
    return std::unexpected(fine.error());
  return std::span<const uint8_t>();
}

Result<void> FileAnswerReader::on_answer() {
  auto answer = decode_file_answer(head_);
  if (!answer) return std::unexpected(answer.error());
  if (!answer->refusal && answer->size < from_)
    return bad("answer", fmt::format("{} bytes, where {} are to be left out", answer->size, from_));
  answer_ = *answer;
  return {};
}

Result<void> FileAnswerReader::on_chunk_head() {
  std::memcpy(&left_, head_.data(), sizeof left_);
  if (left_ > kFileChunkBytesMax)
    return bad("answer",
               fmt::format("a chunk of {} bytes, the limit is {}", left_, kFileChunkBytesMax));
  if (left_ > answer_->size - at_)
    return bad("answer",
               fmt::format("a chunk of {} bytes at byte {} of {}", left_, at_, answer_->size));
  gave_up_ = left_ == 0;
  return {};
}

}  // namespace troupe
