// Bytes on their way through a link: fixed room, filled at one end, emptied at the other. One
// thread. Room that was emptied is used again once everything is out, or when the end is near.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "config/check.h"
#include "config/limits.h"

namespace troupe {

class LinkBuffer {
 public:
  LinkBuffer() : bytes_(new uint8_t[kLinkBufferBytes]) {}

  bool empty() const { return begin_ == end_; }
  size_t size() const { return end_ - begin_; }
  /// Where new bytes may be put; empty when the buffer is full.
  std::span<uint8_t> room() {
    if (begin_ > 0 && end_ > kLinkBufferBytes - kLinkBufferBytes / 4) {
      std::memmove(bytes_.get(), bytes_.get() + begin_, size());
      end_ -= begin_;
      begin_ = 0;
    }
    return {bytes_.get() + end_, kLinkBufferBytes - end_};
  }
  void filled(size_t count) {
    TROUPE_CHECK(count <= kLinkBufferBytes - end_, count, end_);
    end_ += count;
  }
  std::span<const uint8_t> bytes() const { return {bytes_.get() + begin_, size()}; }
  void taken(size_t count) {
    TROUPE_CHECK(count <= size(), count, size());
    begin_ += count;
    if (empty()) clear();
  }
  void clear() { begin_ = end_ = 0; }

 private:
  std::unique_ptr<uint8_t[]> bytes_;
  size_t begin_ = 0, end_ = 0;
};

}  // namespace troupe
