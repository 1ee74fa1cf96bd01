#include "model/text/piece_cache.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include "config/limits.h"
#include "config/mix.h"

namespace troupe {

static_assert(std::has_single_bit(kPieceCacheEntries));

PieceCache::PieceCache() : entries_(kPieceCacheEntries) {}

PieceCache& PieceCache::of_this_thread() {
  thread_local PieceCache cache;
  return cache;
}

uint32_t PieceCache::new_owner() {
  static std::atomic<uint32_t> last{0};
  uint32_t owner = ++last;
  while (owner == 0) owner = ++last;
  return owner;
}

size_t PieceCache::slot_of(uint32_t owner, std::string_view piece) {
  std::array<uint64_t, 4> words{};
  std::memcpy(words.data(), piece.data(), piece.size());
  uint64_t hash = mix64((uint64_t{owner} << 8) | piece.size());
  for (size_t i = 0; i * 8 < piece.size(); ++i) hash = mix64(hash ^ words[i]);
  return hash & (kPieceCacheEntries - 1);
}

std::span<const TokenId> PieceCache::find(uint32_t owner, std::string_view piece) const {
  if (piece.size() > kBytes) return {};
  const Entry& e = entries_[slot_of(owner, piece)];
  if (e.owner != owner || std::string_view(e.bytes.data(), e.n_bytes) != piece) return {};
  return {e.tokens.data(), e.n_tokens};
}

void PieceCache::put(uint32_t owner, std::string_view piece, std::span<const TokenId> tokens) {
  if (piece.size() > kBytes || tokens.size() > kTokens) return;
  Entry& e = entries_[slot_of(owner, piece)];
  e.owner = owner;
  e.n_bytes = static_cast<uint8_t>(piece.size());
  e.n_tokens = static_cast<uint8_t>(tokens.size());
  std::copy(piece.begin(), piece.end(), e.bytes.begin());
  std::copy(tokens.begin(), tokens.end(), e.tokens.begin());
}

}  // namespace troupe
