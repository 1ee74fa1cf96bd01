#include "cache/prefix_index.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "config/check.h"
#include "config/digest.h"
#include "config/limits.h"

namespace troupe {

PrefixIndex::PrefixIndex(int32_t blocks) : by_block_(static_cast<size_t>(blocks)) {
  by_key_.reserve(by_block_.size());
}

Digest PrefixIndex::root(const Digest& numerics_id, int32_t adapter, const Salt& tenant) {
  return DigestBuilder()
      .add("prefix 1")
      .add(std::as_bytes(std::span(numerics_id)))
      .add(static_cast<uint64_t>(adapter))
      .add(std::as_bytes(std::span(tenant)))
      .finish();
}

Digest PrefixIndex::extend(const Digest& prefix, std::span<const TokenId> tokens) {
  // The key before has a fixed length, so key and tokens need no separator.
  std::vector<std::byte> bytes(prefix.size() + tokens.size() * sizeof(int32_t));
  std::memcpy(bytes.data(), prefix.data(), prefix.size());
  std::byte* at = bytes.data() + prefix.size();
  for (TokenId token : tokens) {
    std::memcpy(at, &token.value, sizeof(int32_t));
    at += sizeof(int32_t);
  }
  return sha256(std::span<const std::byte>(bytes));
}

std::vector<BlockId> PrefixIndex::match(std::span<const Digest> chain) const {
  std::vector<BlockId> found;
  for (const Digest& key : chain) {
    auto at = by_key_.find(key);
    if (at == by_key_.end()) break;
    found.push_back(at->second);
  }
  return found;
}

bool PrefixIndex::insert(const Digest& key, BlockId block) {
  TROUPE_CHECK(block.value >= 0, block);
  if (by_key_.size() >= kPrefixBlocksMax || holds(block)) return false;
  if (!by_key_.emplace(key, block).second) return false;
  const auto at = static_cast<size_t>(block.value);
  if (at >= by_block_.size()) by_block_.resize(at + 1);
  by_block_[at] = key;
  return true;
}

std::optional<Digest> PrefixIndex::erase(BlockId block) {
  if (!holds(block)) return std::nullopt;
  auto key = std::exchange(by_block_[static_cast<size_t>(block.value)], std::nullopt);
  by_key_.erase(*key);
  return key;
}

void PrefixIndex::check() const {
  for (const auto& [key, block] : by_key_)
    TROUPE_CHECK(holds(block) && by_block_[static_cast<size_t>(block.value)] == key, block);
  const auto held = std::count_if(by_block_.begin(), by_block_.end(),
                                  [](const auto& key) { return key.has_value(); });
  TROUPE_CHECK(by_key_.size() == static_cast<size_t>(held), by_key_.size(), held);
}

size_t PrefixIndex::KeyHash::operator()(const Digest& key) const noexcept {
  size_t first = 0;
  std::memcpy(&first, key.data(), sizeof first);
  return first;
}

}  // namespace troupe
