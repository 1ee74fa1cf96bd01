// The secret of one generation of a group: its ranks on other hosts prove with it that they belong.
// Made by the head, sent in Join, in no log; wiped when it goes.
#pragma once

#include <openssl/crypto.h>

#include <array>
#include <cstddef>

namespace troupe {

class GroupKey {
 public:
  static constexpr size_t kBytes = 32;
  using Bytes = std::array<unsigned char, kBytes>;

  static GroupKey random();
  explicit GroupKey(const Bytes& bytes) : bytes_(bytes) {}
  GroupKey(const GroupKey&) = default;
  GroupKey& operator=(const GroupKey&) = default;
  ~GroupKey() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

  const Bytes& bytes() const { return bytes_; }

 private:
  GroupKey() = default;
  Bytes bytes_{};
};

}  // namespace troupe
