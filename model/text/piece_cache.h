// Remembers the tokens of frequent short pieces (words), because text repeats itself. One table a
// thread of fixed size, shared by all tokenizers of the thread; a newer piece overwrites the older
// one in its slot.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "config/ids.h"

namespace troupe {

class PieceCache {
 public:
  /// The calling thread's table, made at first use (kPieceCacheEntries x 64 bytes).
  static PieceCache& of_this_thread();

  /// A number that names a tokenizer in all tables; never 0.
  static uint32_t new_owner();

  /// Tokens of `piece`, empty if unknown. Valid until the next put() on this thread.
  std::span<const TokenId> find(uint32_t owner, std::string_view piece) const;
  /// Ignores pieces or results too long for a slot.
  void put(uint32_t owner, std::string_view piece, std::span<const TokenId> tokens);

 private:
  static constexpr size_t kBytes = 26, kTokens = 8;
  struct alignas(64) Entry {
    uint32_t owner = 0;
    uint8_t n_bytes = 0, n_tokens = 0;
    std::array<char, kBytes> bytes{};
    std::array<TokenId, kTokens> tokens{};
  };
  static_assert(sizeof(Entry) == 64);

  PieceCache();
  static size_t slot_of(uint32_t owner, std::string_view piece);

  std::vector<Entry> entries_;
};

}  // namespace troupe
