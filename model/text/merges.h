// Byte-pair merging (Sennrich et al. 2016): of all adjacent pairs the one of lowest rank merges
// first, leftmost first among equals, until none is left. O(n log n) by a heap, so that a long
// piece can't stall a router. Immutable once built; any number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "config/ids.h"
#include "model/text/pair_table.h"

namespace troupe {

class Merges {
 public:
  struct Rule {
    TokenId left, right, result;
  };
  /// Best first. Of two rules for one pair the later one counts, as in Hugging Face's
  /// implementation.
  explicit Merges(std::vector<Rule> rules);

  /// Merges `symbols` in place. Symbols with negative ids never merge.
  void apply(std::vector<TokenId>& symbols) const;

 private:
  std::vector<Rule> rules_;
  PairTable ranks_;
};

}  // namespace troupe
