#include "cluster/draft_index.h"

#include <algorithm>
#include <bit>

#include "config/mix.h"

namespace troupe {

namespace {

constexpr size_t kPlacesMin = 256;

}  // namespace

size_t DraftIndex::place(std::span<const TokenId> tokens, int32_t end, int32_t length) const {
  uint64_t hash = 0;
  for (int32_t i = end - length; i < end; ++i)
    hash =
        (hash ^ static_cast<uint64_t>(tokens[static_cast<size_t>(i)].value)) * 0x9e3779b97f4a7c15u;
  const size_t places = places_[0].size();
  return (hash >> 32) & (places - 1);
}

void DraftIndex::grow(std::span<const TokenId> tokens) {
  // Twice as many places as tokens, and room for as many again.
  const size_t wanted = std::max(kPlacesMin, std::bit_ceil(4 * tokens.size()));
  for (auto& places : places_) places.assign(wanted, 0);
  size_ = 0;
}

void DraftIndex::extend(std::span<const TokenId> tokens) {
  if (2 * tokens.size() > places_[0].size()) grow(tokens);
  while (size_ < static_cast<int32_t>(tokens.size())) take(tokens, ++size_);
}

void DraftIndex::take(std::span<const TokenId> tokens, int32_t end) {
  match_ = {};
  for (int32_t length = std::min(kLengthMax, end); length >= kLengthMin; --length) {
    int32_t& known = places_[static_cast<size_t>(length - kLengthMin)][place(tokens, end, length)];
    const auto same = [&] {
      return std::equal(tokens.begin() + known - length, tokens.begin() + known,
                        tokens.begin() + end - length);
    };
    if (match_.length == 0 && known > 0 && same()) match_ = {length, known};
    known = end;
  }
}

}  // namespace troupe
