// A message of any length as at most two transfers whose sizes both ends know: a first part of
// fixed size that begins with the length, and the rest. Reused between steps. One thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "config/limits.h"
#include "config/result.h"
#include "model/collective.h"

namespace troupe {

class StepFrame {
 public:
  /// Holds a plan of a few dozen sequences.
  static constexpr size_t kFirstPart = 4'096;

  /// That travel for so much content.
  static constexpr size_t bytes_of(size_t content) {
    return std::max(kFirstPart, kLength + content);
  }
  /// Begins anew; append() what is to travel, then seal().
  void clear() { bytes_.assign(kLength, std::byte{}); }
  void append(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  template <class Number>
  void append_number(Number number) {
    append(std::as_bytes(std::span(&number, 1)));
  }
  void seal() {
    length_ = bytes_.size();
    const uint64_t length = length_;
    std::memcpy(bytes_.data(), &length, sizeof length);
    if (length_ < kFirstPart) bytes_.resize(kFirstPart);
  }
  /// What was appended, of a frame that is sealed or was received.
  std::span<const std::byte> contents() const {
    return std::span(bytes_).first(length_).subspan(kLength);
  }

  /// call(Buffer) once or twice, while the other end calls receive() with its counterpart. A sealed
  /// or received frame may be sent any number of times.
  template <class Call>
  Result<void> send(Call call) {
    if (auto ok = call(part(0, kFirstPart)); !ok) return ok;
    if (length_ <= kFirstPart) return {};
    return call(part(kFirstPart, length_));
  }
  template <class Call>
  Result<void> receive(Call call) {
    bytes_.resize(kFirstPart);
    length_ = kLength;
    if (auto ok = call(part(0, kFirstPart)); !ok) return ok;
    uint64_t length = 0;
    std::memcpy(&length, bytes_.data(), sizeof length);
    if (length < kLength || length > kStepBytesMax)
      return fail(ErrorCode::data_loss,
                  "A step that came from another rank has an impossible length: the generation "
                  "ends here; look for ranks of different builds.");
    length_ = static_cast<size_t>(length);
    if (length_ <= kFirstPart) return {};
    bytes_.resize(length_);
    return call(part(kFirstPart, length_));
  }

 private:
  static constexpr size_t kLength = sizeof(uint64_t);

  Buffer part(size_t begin, size_t end) {
    return {std::span(bytes_).subspan(begin, end - begin), ElementType::bytes};
  }
  std::vector<std::byte> bytes_;
  size_t length_ = 0;
};

}  // namespace troupe
