// Which KV block begins with which tokens after which prefix, for requests whose known part ends
// inside a block: such a block is copied and the copy written on. Holds full blocks that the prefix
// index has, and the block with the end of a running sequence's prompt. Owned by one Batcher; not
// thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "config/ids.h"

namespace troupe {

class PartialIndex {
 public:
  static constexpr int32_t kTokensMax = 16;  ///< positions of a block

  explicit PartialIndex(int32_t blocks) : parent_of_(static_cast<size_t>(blocks)) {}

  /// `block` holds these tokens (1 to kTokensMax) behind the prefix with this key. Nothing
  /// happens when kPartialsPerPrefix blocks are known there: they differ in what few will ask for.
  void add(const Digest& prefix, BlockId block, std::span<const TokenId> tokens);
  /// The block is freed or changes. Unknown blocks are ignored.
  void erase(BlockId block);

  struct Match {
    BlockId block;
    int32_t tokens = 0;
  };
  /// The block that agrees with the most of `wanted`; nullopt: none with the first token.
  std::optional<Match> match(const Digest& prefix, std::span<const TokenId> wanted) const;

  bool holds(BlockId block) const { return parent_of_[index(block)].has_value(); }
  /// Aborts unless the two sides agree.
  void check() const;

 private:
  struct Entry {
    BlockId block;
    int32_t count = 0;
    std::array<TokenId, kTokensMax> tokens{};
  };
  struct KeyHash {
    size_t operator()(const Digest& key) const noexcept {
      size_t first = 0;
      std::memcpy(&first, key.data(), sizeof first);
      return first;
    }
  };
  static size_t index(BlockId block) { return static_cast<size_t>(block.value); }

  std::unordered_map<Digest, std::vector<Entry>, KeyHash> by_prefix_;
  std::vector<std::optional<Digest>> parent_of_;  ///< by block
};

}  // namespace troupe
