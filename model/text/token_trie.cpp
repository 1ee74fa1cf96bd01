#include "model/text/token_trie.h"

namespace troupe {

size_t TokenTrie::total_bytes(const std::vector<std::string_view>& texts) {
  size_t sum = 0;
  for (const auto text : texts) sum += text.size();
  return sum;
}

TokenTrie::TokenTrie(const std::vector<std::string_view>& texts)
    : edges_(total_bytes(texts)), which_{PairTable::kNone} {
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].empty()) continue;
    starts_[static_cast<uint8_t>(texts[i].front())] = true;
    uint32_t node = 0;
    for (const char c : texts[i]) {
      uint32_t next = edges_.find(node, static_cast<uint8_t>(c));
      if (next == PairTable::kNone) {
        next = static_cast<uint32_t>(which_.size());
        which_.push_back(PairTable::kNone);
        edges_.set(node, static_cast<uint8_t>(c), next);
      }
      node = next;
    }
    which_[node] = static_cast<uint32_t>(i);
  }
}

std::optional<TokenTrie::Match> TokenTrie::find(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_[static_cast<uint8_t>(text[begin])]) continue;
    std::optional<Match> longest;
    uint32_t node = 0;
    for (size_t i = begin; i < text.size(); ++i) {
      node = edges_.find(node, static_cast<uint8_t>(text[i]));
      if (node == PairTable::kNone) break;
      if (which_[node] != PairTable::kNone) longest = Match{begin, i + 1, which_[node]};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

}  // namespace troupe
