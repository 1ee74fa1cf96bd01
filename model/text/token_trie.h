// Finds the longest added token that starts at a place in a text. Built once, then read by any
// number of threads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "model/text/pair_table.h"

namespace troupe {

class TokenTrie {
 public:
  /// `texts`: their positions are what find() gives. Empty ones are ignored; of equal ones the last
  /// counts.
  explicit TokenTrie(const std::vector<std::string_view>& texts);

  struct Match {
    size_t begin = 0, end = 0;
    uint32_t which = 0;
  };
  /// The leftmost match at or after `from`, the longest of those that begin there.
  std::optional<Match> find(std::string_view text, size_t from) const;

 private:
  static size_t total_bytes(const std::vector<std::string_view>& texts);

  PairTable edges_;                 ///< (node, byte) -> node; the root is 0
  std::vector<uint32_t> which_;     ///< of a node: the text that ends there, or PairTable::kNone
  std::array<bool, 256> starts_{};  ///< bytes that begin some text, to skip the rest quickly
};

}  // namespace troupe
