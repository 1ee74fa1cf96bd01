// Prompt lookup: where did the newest tokens of a sequence stand before, and what followed there?
// What a model quotes, repeats or corrects it says once more, and the guess costs no model. One
// sequence's; fed each token once. Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "config/ids.h"

namespace troupe {

class DraftIndex {
 public:
  static constexpr int32_t kLengthMin = 2, kLengthMax = 4;

  /// Takes in all tokens it has not seen yet. `tokens` only ever grows between calls.
  void extend(std::span<const TokenId> tokens);

  struct Match {
    int32_t length = 0;  ///< tokens that agree, kLengthMin to kLengthMax; 0: none
    int32_t next = 0;    ///< position of what followed them
  };
  /// Of the longest end of all tokens taken in, at its newest earlier place.
  Match match() const { return match_; }
  int32_t size() const { return size_; }

 private:
  void grow(std::span<const TokenId> tokens);
  void take(std::span<const TokenId> tokens, int32_t end);
  size_t place(std::span<const TokenId> tokens, int32_t end, int32_t length) const;

  int32_t size_ = 0;
  Match match_;
  /// By the hash of `length` tokens: the position behind them, at their newest place; 0: none. One
  /// that another pushed out is not found: a guess less.
  std::array<std::vector<int32_t>, kLengthMax - kLengthMin + 1> places_;
};

}  // namespace troupe
